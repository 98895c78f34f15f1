/** What the tests of whippet.mjs share: the API they talk to, photos, and a clock that does not wait. */

import { readFileSync } from "node:fs";
import path from "node:path";

import { Whippet, WhippetError } from "../../client/web/whippet.mjs";

export { Whippet, WhippetError };

/** A client of the API that the environment names. */
export function client(options = {}) {
  return new Whippet({ url: process.env.WHIPPET_URL, apiKey: process.env.WHIPPET_API_KEY, ...options });
}

/** A file of the folder that the environment names. */
export function photo(name) {
  return readFileSync(path.join(process.env.WHIPPET_PHOTOS, name));
}

/** The error that a promise rejects with. */
export async function errorOf(promise) {
  return promise.then(() => null, (error) => error);
}

/** All that an async iterator gives. */
export async function all(iterator) {
  const found = [];
  for await (const one of iterator) found.push(one);
  return found;
}

/** From now on the client's waits between tries take no time; their lengths, in milliseconds, are in the array. */
export function recordedWaits(timeoutMs = 30_000) {
  const waits = [];
  const real = globalThis.setTimeout;
  globalThis.setTimeout = (then, ms, ...more) => {
    if (ms === timeoutMs || !new Error().stack.includes("whippet.mjs")) return real(then, ms, ...more);
    waits.push(ms);
    return real(then, 1, ...more);
  };
  return waits;
}
