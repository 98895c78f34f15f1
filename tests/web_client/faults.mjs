/** An API that refuses, stalls and breaks off: what is tried again, after how long, and what is told in the end. */

import assert from "node:assert/strict";
import test from "node:test";

import { client, errorOf, photo, recordedWaits, WhippetError } from "./world.mjs";

const red = () => photo("red.png");

/** Waits lie between these bounds, in milliseconds. */
function assertWithin(waits, bounds) {
  assert.equal(waits.length, bounds.length, String(waits));
  waits.forEach((wait, i) => assert(bounds[i][0] <= wait && wait <= bounds[i][1], String(waits)));
}

test("what may pass by itself is tried again", async () => {
  recordedWaits();
  assert.equal((await client({ retries: 9 }).classify(red())).predictions[0].label, "red");
});

test("Retry-After is obeyed", async () => {
  const waits = recordedWaits(29_999);
  await client({ timeoutMs: 29_999 }).classify(red());
  assertWithin(waits, [[7_000, 7_000], [1_000, 20_000], [30_000, 30_000]]);
});

test("waits double up to eight seconds", async () => {
  const waits = recordedWaits(29_999);
  const error = await errorOf(client({ retries: 6, timeoutMs: 29_999 }).classify(red()));
  assert.equal(error.status, 503);
  assertWithin(waits, [[500, 1_000], [1_000, 1_500], [2_000, 2_500], [4_000, 4_500], [8_000, 8_500], [8_000, 8_500]]);
  assert.equal(new Set(waits.map((wait) => wait % 500)).size, 6, "no jitter");
});

test("the last error says what happened", async () => {
  recordedWaits();
  const error = await errorOf(client().classify(red()));
  assert(error instanceof WhippetError);
  const { name, status, code, detail, hint, requestId, message } = error;
  assert.deepEqual(
    { name, status, code, detail, hint, requestId, message },
    {
      name: "WhippetError",
      status: 503,
      code: "endpoint_unavailable",
      detail: "fact of endpoint_unavailable.",
      hint: "mend of endpoint_unavailable.",
      requestId: "req-1",
      message: "fact of endpoint_unavailable. mend of endpoint_unavailable.",
    },
  );
});

test("a late answer is waited for twice", async () => {
  recordedWaits(200);
  const error = await errorOf(client({ timeoutMs: 200 }).classify(red()));
  assert.deepEqual([error.code, error.status], ["timeout", 0]);
});

test("an answer that stalls half-way is late, too", async () => {
  const halting = async (url, options) => {
    if (String(url).endsWith("/v1/model")) return fetch(url, options);
    const { signal } = options;
    const body = new ReadableStream({ start: (body) => signal.addEventListener("abort", () => body.error(new Error())) });
    return new Response(body);
  };
  recordedWaits(200);
  assert.equal((await errorOf(client({ timeoutMs: 200, fetch: halting }).classify(red()))).code, "timeout");
});

test("what stays is not tried again", async () => {
  const waits = recordedWaits();
  const whippet = client();
  const told = [];
  for (let i = 0; i < 4; i++) {
    const { status, code } = await errorOf(whippet.classify(red()));
    told.push([status, code]);
  }
  assert.deepEqual(told, [[400, "bad_image"], [413, "too_large"], [200, "bad_answer"], [302, "bad_answer"]]);
  assert.deepEqual(waits, []);
});

test("a gateway's statuses have the contract's codes", async () => {
  const codes = JSON.parse(process.env.CODES);
  const whippet = client({ retries: 0 });
  for (const [status, code] of codes) {
    const error = await errorOf(whippet.classify(red()));
    assert.deepEqual([error.status, error.code], [status, code]);
  }
});

test("a signal stops the wait for another try", async () => {
  const stop = new AbortController();
  const asked = client().classify(red(), { signal: stop.signal });
  setTimeout(() => stop.abort(new Error("enough")), 250);
  assert.equal((await errorOf(asked)).message, "enough");
  const late = client().classify(red(), { signal: AbortSignal.abort() });
  assert.equal((await errorOf(late)).name, "AbortError");
});

test("a signal stops a request under way, and only its own", async () => {
  const stop = new AbortController();
  const whippet = client();
  const [stopped, other] = [whippet.classify(red(), { signal: stop.signal }), whippet.classify(red())];
  setTimeout(() => stop.abort(), 100);
  assert.equal((await errorOf(stopped)).name, "AbortError");
  assert.equal((await other).predictions[0].label, "red");
});

test("after a failure the model is asked for again", async () => {
  let down = true;
  const fetched = (url, options) => (down ? Promise.reject(new TypeError("down")) : fetch(url, options));
  const whippet = client({ retries: 0, fetch: fetched });
  assert.equal((await errorOf(whippet.classify(red()))).code, "unreachable");
  down = false;
  assert.equal((await whippet.classify(red())).predictions[0].label, "red");
});

test("a job that is asked for twice is one job", async () => {
  recordedWaits();
  const error = await errorOf(client().createJob({ prefix: "s3://photos/" }));
  assert.equal(error.code, "not_found");
});
