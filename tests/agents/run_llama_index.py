"""llama-index's function agent: python run_llama_index.py BASE_URL"""

import asyncio
import sys

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai import OpenAI


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}"


async def main() -> None:
    model = OpenAI(model="gpt-4o", api_base=f"{sys.argv[1]}/v1", api_key="sk-test")
    agent = FunctionAgent(tools=[get_weather], llm=model, system_prompt="Use the tool.")
    print(await agent.run("How is the weather in Berlin and Paris?"))


asyncio.run(main())
