"""Every recorded answer of every API through a real Envoy: the whole ones hit, all others never."""

import pytest
from asserts import vm_survives
from harness.http1 import fetch
from recordings import recordings

# Complete for people who read them, and yet not provably whole.
NOT_PROVABLY = {
    "anthropic-messages/vercel_spliced_message_start.sse": "two answers in one",
    "bedrock-invoke-stream/guardrail_invoke_stream.bin": "a guardrail answered",
    "derived/anthropic_missing_message_stop.sse": "no end marker",
    "derived/openai_bom.sse": "OpenAI's client loses the first event with the mark",
    "derived/openai_missing_done_after_finish.sse": "no end marker",
    "gemini/fb_vertexai_streaming_success_citations.sse": "goes on after its finish",
    "gemini/fb_googleai_unary_failure_only_prompt_feedback.json": "a prompt that was refused",
    "openai-responses/openai_conversation_id_auto_respects_pydantic_ai_conversation_id_1.json":
        "depends on a conversation that the provider keeps",
    "gemini/testgoogleaitoolcallresponse_1.sse": "an array of JSON, and not the stream asked for",
}
# What the index says is missing, and why it is not.
WHOLE_AFTER_ALL = {
    "workers-ai/native_tool_call.sse": "the finish reason stands beside the pieces",
    "openai-compat-chat/vercel_anthropic_fallback_tool_call.sse":
        "the end marker lacks its line end, and no more",
    "mistral-chat/stream_basic_text_1.sse": "the end marker lacks its line end, and no more",
    "snowflake-chat/test_snowflake_thinking.json": "a document with usage and no finish reason",
}


@pytest.fixture
def lenient(envoys, workers):
    """Recorded requests let providers run tools, and that is not what is tested here."""
    return envoys.configured({"store_if": {"server_tools": True},
                              "store": {"memory": {"max_entry_bytes": "2MiB"}}}, workers)


def test_whole_answers_are_replayed_byte_for_byte_and_others_are_never_stored(
        lenient, standin, recorded):
    wrong, hits, misses = [], 0, 0
    with vm_survives(lenient):
        for number, recording in enumerate(recordings(recorded)):
            whole = recording.name in WHOLE_AFTER_ALL or (
                recording.status == "complete" and recording.http_status == 200
                and recording.name not in NOT_PROVABLY)
            tenant = {"authorization": f"Bearer recorded-{number}"}
            body = recording.file.read_bytes()

            def ask(recording=recording, tenant=tenant):
                return fetch(lenient.port, recording.request, path=recording.path,
                             standin=recording.standin, headers=tenant)

            first = ask()
            before = standin.stats()["requests"]
            second = ask()
            asked = standin.stats()["requests"] - before
            assert first.body == body, recording.name
            assert second.body == body, recording.name
            if (second.cache, asked) != (("HIT", 0) if whole else (second.cache, 1)):
                wrong.append((recording.name, recording.status, second.cache,
                              second.header("cache-status")))
            hits += whole
            misses += not whole
    print(f"ran {hits} whole answers and {misses} others")
    assert not wrong, "\n".join(map(str, wrong))
