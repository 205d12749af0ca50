"""langgraph with ChatMistralAI, whose streams come with `cache-control: no-store`:
python run_langchain_mistral.py BASE_URL"""

import sys

from langchain_mistralai import ChatMistralAI
from langgraph.prebuilt import create_react_agent


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}"


model = ChatMistralAI(model="mistral-large", endpoint=f"{sys.argv[1]}/v1", api_key="test-key",
                      streaming=True)
agent = create_react_agent(model, [get_weather])
for step in agent.stream({"messages": [("user", "How is the weather in Berlin and Paris?")]},
                         stream_mode="messages"):
    last = step[0]
    if last.content and last.type == "AIMessageChunk":
        print(last.content, end="")
print()
