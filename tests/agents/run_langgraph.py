"""langgraph's prebuilt agent with ChatOpenAI: python run_langgraph.py BASE_URL"""

import sys

from langchain_openai import ChatOpenAI
from langgraph.prebuilt import create_react_agent


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}"


model = ChatOpenAI(model="gpt-4o", base_url=f"{sys.argv[1]}/v1", api_key="sk-test",
                   streaming="--stream" in sys.argv)
agent = create_react_agent(model, [get_weather])
result = agent.invoke({"messages": [("user", "How is the weather in Berlin and Paris?")]})
print(result["messages"][-1].content)
