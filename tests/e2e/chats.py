"""Chat requests, as the OpenAI API takes them."""


def chat(text: str, stream: bool = False, **members) -> dict:
    """The body of a chat request that asks `text`."""
    return {"model": "stand-in", "stream": stream, **members,
            "messages": [{"role": "user", "content": text}]}
