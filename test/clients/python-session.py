"""One session of PyPI's durable-streams against the server whose stream root is the argument. Prints "passed" last."""

import asyncio
import sys
import uuid

from durable_streams import (
    AsyncDurableStream,
    DurableStream,
    DurableStreamError,
    FetchError,
    SeqConflictError,
    StreamNotFoundError,
    stream,
)

root = sys.argv[1].rstrip("/")


def fresh(name):
    return f"{root}/python/{name}-{uuid.uuid4()}"


def check(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: got {got!r}, wanted {wanted!r}")


def status_of(work):
    try:
        work()
    except (DurableStreamError, FetchError) as error:
        return error.status
    return None


def json_in_every_mode():
    url = fresh("json")
    values = [{"n": 1}, ["a", [2]], "line\nbreak \u2028 \U0001f9ca", None, 2**53 + 1]
    with DurableStream.create(url, content_type="application/json") as handle:
        for value in values[:2]:
            handle.append(value)
        middle = handle.head().offset
        for value in values[2:]:
            handle.append(value)
        check("the tail", handle.head().content_type, "application/json")
    with stream(url, live=False) as reader:
        check("a catch-up read", reader.read_json(), values)
    with stream(url, live=False, offset=middle) as reader:
        check("a read from an offset", reader.read_json(), values[2:])
    for live in ("auto", "long-poll", "sse"):
        items = []
        # This version sends no offset when it is given none, and a live read has to name one.
        with stream(url, live=live, offset="-1") as reader:
            for item in reader.iter_json():
                items.append(item)
                if len(items) == len(values):
                    break
        check(f"a live read, {live}", items, values)


def live_appends():
    """A reader that is at the tail sees what is appended while it waits."""

    async def follow(live):
        url = fresh(f"live-{live}")
        handle = await AsyncDurableStream.create(url, content_type="application/json")
        await handle.append({"n": 0})
        seen = []
        async with handle.stream(live=live, offset="-1") as reader:
            async for item in reader.iter_json():
                seen.append(item)
                if len(seen) == 5:
                    break
                await handle.append({"n": len(seen)})
        check(f"appends seen live, {live}", seen, [{"n": n} for n in range(5)])
        await asyncio.gather(*(handle.append({"n": n}) for n in range(5, 100)))
        async with handle.stream(live=False) as reader:
            check("batched appends", await reader.read_json(), [{"n": n} for n in range(100)])
        await handle.aclose()

    for live in ("long-poll", "sse"):
        asyncio.run(asyncio.wait_for(follow(live), 60))


def bytes_and_text():
    url = fresh("bytes")
    body = bytes(range(256)) * 700
    with DurableStream.create(url, content_type="application/octet-stream") as handle:
        handle.append(body)
        handle.append(b"\x00end")
    with stream(url, live=False) as reader:
        check("bytes", reader.read_bytes(), body + b"\x00end")
    url = fresh("text")
    with DurableStream.create(url, content_type="text/plain", body="first\n") as handle:
        handle.append(" second, with a space before it\n")
    with stream(url, live=False) as reader:
        check("text", reader.read_text(), "first\n second, with a space before it\n")


def errors():
    url = fresh("errors")
    check("a read of nothing", status_of(lambda: stream(url, live=False)), 404)
    try:
        DurableStream(url, content_type="text/plain").append("x")
        sys.exit("an append to nothing succeeded")
    except StreamNotFoundError:
        pass
    with DurableStream.create(url, content_type="text/plain") as handle:
        check("another type", status_of(lambda: DurableStream.create(url, content_type="application/json")), 409)
        handle.append("a", seq="2")
        try:
            handle.append("b", seq="1")
            sys.exit("a Stream-Seq that does not grow was taken")
        except SeqConflictError:
            pass
        check("a malformed offset", status_of(lambda: stream(url, offset="tomorrow", live=False)), 400)
        gone = handle.head().offset
        handle.delete()
    check("a read after the delete", status_of(lambda: stream(url, live=False)), 404)
    DurableStream.create(url, content_type="text/plain", body="another stream").close()
    check("an offset of the stream before", status_of(lambda: stream(url, offset=gone, live=False)), 410)


for part in (json_in_every_mode, live_appends, bytes_and_text, errors):
    part()
    print(f"  {part.__name__}", flush=True)
print("passed")
