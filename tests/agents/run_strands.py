"""strands on OpenAI's chat: python run_strands.py BASE_URL"""

import sys

from strands import Agent, tool
from strands.models.openai import OpenAIModel


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}"


model = OpenAIModel(client_args={"base_url": f"{sys.argv[1]}/v1", "api_key": "sk-test"},
                    model_id="gpt-4o")
agent = Agent(model=model, tools=[get_weather], system_prompt="Use the tool.",
              callback_handler=None)
print(agent("How is the weather in Berlin and Paris?"))
