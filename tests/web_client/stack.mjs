/** The real API behind the client: labels, its errors, uploads, jobs. */

import assert from "node:assert/strict";
import test from "node:test";

import { all, client, errorOf, photo } from "./world.mjs";

const EXPECTED = JSON.parse(process.env.EXPECTED ?? "{}");

test("labels are those of the other client", async () => {
  const whippet = client();
  const names = Object.keys(EXPECTED);
  for (const name of names) {
    const { predictions, decision } = await whippet.classify(photo(name));
    const expected = EXPECTED[name];
    assert.deepEqual([decision, predictions.length], [expected.decision, expected.predictions.length]);
    assert.deepEqual(predictions[0].class_id, expected.predictions[0].class_id);
    // Not to the last digit: how many threads the model had moves that.
    predictions.forEach(({ score }, i) => assert(Math.abs(score - expected.predictions[i].score) < 1e-3));
  }
  const outcomes = await all(whippet.classifyMany(names.map(photo), { concurrency: 2 }));
  for (const { index, predictions } of outcomes) {
    assert.equal(predictions[0].label, EXPECTED[names[index]].predictions[0].label);
  }
  assert.equal(outcomes.length, names.length);
});

test("errors are those of the contract", async () => {
  const no = { ...(await errorOf(client().classify(Buffer.from("no photo at all")))) };
  assert.deepEqual([no.status, no.code], [415, "unsupported_media_type"]);
  assert(no.detail && no.hint && no.requestId);
  const wrong = await errorOf(client({ apiKey: "wrong" }).classify(photo("coffee.png")));
  assert.deepEqual([wrong.status, wrong.code], [403, "forbidden"]);
  const many = await errorOf(client().classify(photo("coffee.png"), { topK: 0 }));
  assert.deepEqual([many.status, many.code], [422, "bad_parameter"]);
});

test("a large photo is uploaded first", async () => {
  const large = photo("large.png");
  assert(large.length > 4_000_000);
  const asked = [];
  const noted = (url, options) => (asked.push([String(url), options.headers]), fetch(url, options));
  const { predictions } = await client({ fetch: noted }).classify(new Blob([large], { type: "image/png" }));
  assert.equal(predictions[0].label, "espresso");
  const [, ticket, [, form], last] = asked;
  assert(ticket[0].endsWith("/v1/uploads") && last[0].includes("/v1/classify?"));
  assert.equal(form, undefined, "the store is shown the key");
});

test("a job from its photos to its results", async () => {
  const whippet = client();
  const upload = await whippet.upload(photo("coffee.png"));
  const { id, state } = await whippet.createJob({ uploads: [{ upload, id: "cup" }], topK: 1 });
  assert.equal(state, "queued");
  const seen = [];
  const done = await whippet.waitForJob(id, { pollMs: 100, onProgress: (job) => seen.push(job.state) });
  assert.deepEqual([done.state, done.ok, seen.at(-1)], ["done", 1, "done"]);
  const [line] = await whippet.jobResults(id);
  assert.deepEqual([line.path, line.predictions.length, line.predictions[0].label], ["cup", 1, "espresso"]);
  assert.equal((await whippet.cancelJob(id)).state, "done");
  assert.equal((await errorOf(whippet.job("no-such-job"))).code, "not_found");
});
