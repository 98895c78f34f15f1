/** Many photos: an outcome each, packs, bounded concurrency, and ends that leave nothing behind. */

import assert from "node:assert/strict";
import test from "node:test";

import { all, client, errorOf, photo, recordedWaits } from "./world.mjs";

const COLOURS = ["red", "green", "blue"];

/** So many photos; every one its own bytes. */
function* photos(count) {
  for (let i = 0; i < count; i++) yield Buffer.concat([photo(`${COLOURS[i % 3]}.png`), Buffer.from(String(i))]);
}

/** A fetch that notes how many of its requests there are, and are under way at most. */
function counting() {
  const seen = { all: 0, now: 0, most: 0 };
  seen.fetch = async (...request) => {
    seen.all++;
    seen.most = Math.max(seen.most, ++seen.now);
    return fetch(...request).finally(() => seen.now--);
  };
  return seen;
}

test("every photo has one outcome, and few requests are under way", async () => {
  const seen = counting();
  const told = [];
  const whippet = client({ fetch: seen.fetch });
  const outcomes = await all(whippet.classifyMany(photos(100), { concurrency: 3, onOutcome: (one) => told.push(one) }));
  assert.deepEqual(told, outcomes);
  const sorted = outcomes.sort((a, b) => a.index - b.index);
  assert.deepEqual(sorted.map(({ index }) => index), [...Array(100).keys()]);
  for (const { index, ok, predictions, model, error } of sorted) {
    assert.deepEqual([ok, predictions[0].label, model.name, error], [true, COLOURS[index % 3], "fake", null]);
  }
  assert.equal(seen.most, 3);
});

test("a photo that fails is an outcome among others", async () => {
  async function* some() {
    yield* [photo("red.png"), photo("broken.png"), new Uint8Array(), "no photo", photo("blue.png")];
  }
  const outcomes = (await all(client().classifyMany(some(), { concurrency: 1 }))).sort((a, b) => a.index - b.index);
  assert.deepEqual(outcomes.map(({ ok, error, predictions }) => (ok ? predictions[0].label : error.code)), [
    "red",
    "bad_image",
    "bad_image",
    "usage",
    "blue",
  ]);
  assert.deepEqual([outcomes[1].error.status, outcomes[1].error.requestId], [400, "r"]);
});

test("a photo that breaks every request takes no other along", async () => {
  recordedWaits();
  const deadly = photo("deadly.png");
  const some = [...photos(5), deadly, ...photos(5)];
  const outcomes = await all(client({ retries: 1 }).classifyMany(some, { concurrency: 1 }));
  const failed = outcomes.filter(({ ok }) => !ok);
  assert.equal(outcomes.length, 11);
  assert.deepEqual(failed.map(({ photo: bytes, error }) => [bytes, error.code]), [[deadly, "unreachable"]]);
});

test("an API that goes down fails what is left", async () => {
  recordedWaits();
  const seen = counting();
  const dying = (...request) => (seen.all < 3 ? seen.fetch(...request) : (seen.all++, fetch("http://127.0.0.1:9")));
  const outcomes = await all(client({ retries: 1, fetch: dying }).classifyMany(photos(60), { concurrency: 2 }));
  assert.equal(outcomes.length, 60);
  assert.deepEqual([...new Set(outcomes.filter(({ ok }) => !ok).map(({ error }) => error.code))], ["unreachable"]);
  assert(outcomes.some(({ ok }) => ok));
  assert(seen.all < 60, "packs were taken apart");
});

test("a wrong key is thrown", async () => {
  const error = await errorOf(all(client({ apiKey: "wrong" }).classifyMany(photos(3))));
  assert.equal(error.code, "forbidden");
});

test("whoever takes no more stops it", async () => {
  let closed = false;
  function* endless() {
    try {
      for (;;) yield photo("red.png");
    } finally {
      closed = true;
    }
  }
  const seen = counting();
  for await (const { ok } of client({ fetch: seen.fetch }).classifyMany(endless(), { concurrency: 2 })) {
    assert(ok);
    break;
  }
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert(closed);
  assert.deepEqual([seen.now, seen.most], [0, 2], "a request is still under way");
});

test("a signal stops it, even while no photo comes", async () => {
  const stop = new AbortController();
  async function* slow() {
    yield photo("red.png");
    await new Promise(() => {});
  }
  setTimeout(() => stop.abort(new Error("enough")), 300);
  const error = await errorOf(all(client().classifyMany(slow(), { concurrency: 2, signal: stop.signal })));
  assert.equal(error.message, "enough");
});

test("an error of the source is thrown", async () => {
  function* some() {
    yield photo("red.png");
    throw new Error("the disk is gone");
  }
  assert.equal((await errorOf(all(client().classifyMany(some())))).message, "the disk is gone");
});

test("packs stay below the limits", async () => {
  const some = Array.from({ length: 6 }, () => Buffer.concat([photo("red.png"), Buffer.alloc(1_500_000)]));
  const outcomes = await all(client().classifyMany(some, { concurrency: 1 }));
  assert.equal(outcomes.filter(({ ok }) => ok).length, 6);
});

test("more labels than a batch gives go one by one", async () => {
  assert.equal((await all(client().classifyMany(photos(4), { topK: 101, concurrency: 1 }))).length, 4);
});
