/** A consumer in TypeScript, for its compiler: what it takes for granted of whippet.mjs, and what must be an error. */

import { Whippet, WhippetError } from "../../client/web/whippet.mjs";
import type { Classification, Job, Outcome, Photo, Prediction } from "../../client/web/whippet.mjs";

const whippet = new Whippet({ url: "https://example.org/prod", token: async () => "id token", timeoutMs: 5_000 });

export async function best(photo: Photo, signal: AbortSignal): Promise<Prediction | undefined> {
  const answer: Classification = await whippet.classify(photo, { topK: 1, signal });
  return answer.predictions[0];
}

export async function* labels(files: File[]): AsyncGenerator<[Photo, string]> {
  for await (const outcome of whippet.classifyMany(files, { concurrency: 2, onOutcome: (one: Outcome) => one.index })) {
    if (outcome.ok) yield [outcome.photo, `${outcome.decision} ${outcome.model.version}`];
    else yield [outcome.photo, outcome.error.hint];
  }
}

export async function results(photo: Blob): Promise<string[]> {
  const job: Job = await whippet.createJob({ uploads: [{ upload: await whippet.upload(photo), id: "a" }] });
  const done = await whippet.waitForJob(job.id, { onProgress: ({ ok, failed }) => ok + failed });
  return done.results ? (await whippet.jobResults(job.id)).map((line) => line.path) : [];
}

export function wait(error: unknown): number | undefined {
  return error instanceof WhippetError && error.status === 429 ? error.retryAfterMs : undefined;
}

export const native = new Whippet({ url: "https://example.org", shrink: async (photo, side) => (side > 0 ? photo : { uri: "" }) });

// @ts-expect-error A photo is no text.
void whippet.classify("dog.jpg");
// @ts-expect-error The URL is needed.
void new Whippet({ apiKey: "key" });
// @ts-expect-error A failed photo has no model.
export const version = (outcome: Outcome): string => outcome.model.version;
// @ts-expect-error It is called topK.
void whippet.classify(new Blob(), { top_k: 1 });
