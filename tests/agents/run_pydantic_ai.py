"""pydantic-ai on OpenAI's chat, on its responses, and on Gemini, whose calls have no ids:
python run_pydantic_ai.py BASE_URL [--responses | --gemini]"""

import sys

from pydantic_ai import Agent

if "--gemini" in sys.argv:
    from pydantic_ai.models.google import GoogleModel
    from pydantic_ai.providers.google import GoogleProvider
    model = GoogleModel("gemini-2.5-flash", provider=GoogleProvider(
        api_key="test-key", base_url=sys.argv[1]))
else:
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider
    kind = OpenAIResponsesModel if "--responses" in sys.argv else OpenAIChatModel
    model = kind("gpt-4o", provider=OpenAIProvider(
        base_url=f"{sys.argv[1]}/v1", api_key="sk-test"))

agent = Agent(model, instructions="Use the tool.")


@agent.tool_plain
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}"


print(agent.run_sync("How is the weather in Berlin and Paris?").output)
