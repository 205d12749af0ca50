"""OpenAI's agents SDK, on its responses API or on chat completions:
python run_openai_agents.py BASE_URL [--chat] [--stream]"""

import asyncio
import sys

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI

set_tracing_disabled(True)


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}"


async def main() -> None:
    client = AsyncOpenAI(base_url=f"{sys.argv[1]}/v1", api_key="sk-test")
    kind = OpenAIChatCompletionsModel if "--chat" in sys.argv else OpenAIResponsesModel
    agent = Agent(name="Weather", instructions="Use the tool.", tools=[get_weather],
                  model=kind(model="gpt-4o", openai_client=client))
    question = "How is the weather in Berlin and Paris?"
    if "--stream" in sys.argv:
        run = Runner.run_streamed(agent, question)
        async for _ in run.stream_events():
            pass
        print(run.final_output)
    else:
        print((await Runner.run(agent, question)).final_output)


asyncio.run(main())
