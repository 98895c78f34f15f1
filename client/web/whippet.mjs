// @ts-check
/**
 * Whippet's client for web pages, React Native and node from 18 on: one file, nothing to install.
 *
 *     const whippet = new Whippet({ url: "https://example.org/prod", token: () => session.idToken });
 *     const { predictions } = await whippet.classify(file);
 *
 * Answers are the API's own JSON, with its names (docs/api.md). Whatever fails is a WhippetError, but for what `signal` aborts.
 */

/** @typedef {{ uri: string, type?: string, name?: string }} NativePhoto A photo of React Native, by its address. */
/** @typedef {Blob | ArrayBuffer | ArrayBufferView | NativePhoto} Photo A File is a Blob; a Buffer is an ArrayBufferView. */
/** @typedef {"confident" | "unsure" | "unknown"} Decision */
/** @typedef {{ label: string, class_id: string, score: number }} Prediction `score` is calibrated, from 0 to 1. */
/** @typedef {{ name: string, version: string }} Model */
/**
 * @typedef {object} Classification Predictions by falling score.
 * @property {Prediction[]} predictions
 * @property {Decision} decision
 * @property {Model} model
 * @property {string} request_id
 * @property {Record<string, number>} timings_ms
 */
/** @typedef {{ image_bytes: number, upload_bytes: number, batch: number, batch_top_k: number, [name: string]: number }} Limits */
/**
 * @typedef {object} ModelDescription
 * @property {string} name
 * @property {string} version
 * @property {{ class_id: string, label: string }[]} classes
 * @property {{ resize: number, crop: number }} input What the model looks at, in pixels.
 * @property {Limits} limits
 */
/** @typedef {{ status: "ok", model: Model }} Health */
/** @typedef {{ index: number, photo: Photo, ok: true, predictions: Prediction[], decision: Decision, model: Model, error: null }} Classified */
/** @typedef {{ index: number, photo: Photo, ok: false, predictions: [], decision: null, model: null, error: WhippetError }} Failed */
/** @typedef {Classified | Failed} Outcome What became of the photo that came as number `index`, from 0. */
/** @typedef {{ status: number, code: string, detail: string, hint: string }} Problem */
/**
 * @typedef {object} Job
 * @property {string} id
 * @property {"queued" | "running" | "done" | "failed" | "cancelled"} state
 * @property {boolean} listed Whether all photos are found, and `photos` is their number.
 * @property {number} photos
 * @property {number} ok
 * @property {number} failed
 * @property {string} created
 * @property {string | null} finished
 * @property {{ url: string, expires_in: number } | null} results
 * @property {Problem | null} error
 */
/**
 * @typedef {object} JobRequest Either uploads or a prefix.
 * @property {{ upload: string, id?: string }[]} [uploads] Keys that `upload` gave.
 * @property {string} [prefix] `s3://bucket/prefix/`
 * @property {number} [topK]
 * @property {string} [token] The same token and request give the same job; by default a new one.
 * @property {string} [webhook] An `https://` address that is called at the end.
 */
/**
 * @typedef {object} ResultLine
 * @property {string} path The upload's id, or the object's address.
 * @property {string | null} sha256
 * @property {"ok" | "error"} status
 * @property {Prediction[]} predictions
 * @property {Decision | null} decision
 * @property {{ code: string, detail: string, hint: string } | null} error
 */
/** @typedef {{ signal?: AbortSignal }} Stoppable What it aborts rejects with its reason. */
/**
 * @typedef {object} Options
 * @property {string} url Where the API is; on AWS it ends in the stage, such as /prod.
 * @property {string} [apiKey] Not in what strangers can read: a web page, an app. There it is `token`.
 * @property {string | (() => string | Promise<string>)} [token] The ID token of a signed-in user (Cognito); a function is asked for each try.
 * @property {number} [timeoutMs] For each try, sending the photo included. By default 30,000.
 * @property {number} [retries] How often a request is tried again on 429, 502, 503, 504 and lost connections. By default 4.
 * @property {typeof globalThis.fetch} [fetch] Instead of the global one.
 * @property {boolean | ((photo: Photo, side: number) => Photo | Promise<Photo>)} [shrink] By default true: large photos are shrunk
 *   where there is a canvas. A function does it its own way, to `side` pixels of the shorter side.
 */
/** @typedef {{ data: Blob | Uint8Array, size: number, file: any }} Ready A photo as it is sent: alone, and in a form. */
/** @typedef {{ index: number, photo: Photo, size: number, ready?: Ready, error?: WhippetError }} Item */

const SHRINK_FACTOR = 2; // times the model's input side: the server's own resize then meets the same grid as on the full photo
const JPEG_QUALITY = 0.89;
const SMALL_BYTES = 100_000; // about what shrinking makes of a photo
const PACK_BYTES = 4_000_000; // of photos in one request: base64 makes 4/3 of them in Lambda's event of 6 MB
const FIRST_PACK = 8;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8_000;
const JITTER_MS = 500;
const LONGEST_RETRY_AFTER_MS = 30_000; // beyond it an error is worth more than a silent wait
const SLOW_TRIES = 2; // each late answer costs half a minute
const POLL_MS = 5_000;
const OCTETS = "application/octet-stream"; // the first bytes tell the format; API Gateway takes unlisted types for text
const JSON_TYPE = "application/json";
const TOP_K = 5;

const RETRYABLE = new Set([429, 502, 503, 504]);
const HOPELESS = new Set([401, 403, 429]); // of a pack: for its photos one by one, too
const CODES = new Map([
  [400, "bad_request"],
  [401, "unauthorized"],
  [403, "forbidden"],
  [404, "not_found"],
  [409, "conflict"],
  [413, "too_large"],
  [415, "unsupported_media_type"],
  [422, "bad_parameter"],
  [429, "throttled"],
  [500, "internal"],
  [502, "endpoint_failed"],
  [503, "endpoint_unavailable"],
  [504, "endpoint_timeout"],
]);

/** What went wrong: branch on `code` and `status`, show `detail` (the fact) and `hint` (the mend). */
export class WhippetError extends Error {
  /** @param {{ status?: number, code: string, detail: string, hint?: string, requestId?: string, retryAfterMs?: number, cause?: unknown }} what */
  constructor({ status = 0, code, detail, hint = "", requestId = "", retryAfterMs, cause }) {
    super(`${detail} ${hint}`.trim());
    this.name = "WhippetError";
    /** Of the answer; 0 where none came, or nothing was sent. */
    this.status = status;
    /** One of the API's (docs/api.md), or `usage`, `unreadable`, `unreachable`, `timeout`, `bad_answer`, `upload_failed`. */
    this.code = code;
    this.detail = detail;
    this.hint = hint;
    /** By which the request is found in the API's logs; "" where no answer said one. */
    this.requestId = requestId;
    /** What the API asks to wait, in milliseconds, where it does. */
    this.retryAfterMs = retryAfterMs;
    if (cause !== undefined) this.cause = cause;
  }
}

/** One API. The key and token are kept where neither a log nor JSON shows them. */
export class Whippet {
  #url;
  #apiKey;
  #token;
  #timeoutMs;
  #retries;
  #fetch;
  #shrink;
  /** @type {Promise<ModelDescription> | undefined} */
  #asked;

  /** @param {Options} options Throws a WhippetError `usage` where one cannot be. */
  constructor({ url, apiKey, token, timeoutMs = 30_000, retries = 4, fetch, shrink = true }) {
    if (!/^https?:\/\/[^\s?#@]+$/i.test(url ?? "")) throw usage("The API's URL cannot be used.", "It looks like https://HOST/STAGE.");
    if (!(timeoutMs > 0) || !(retries >= 0)) throw usage("timeoutMs must be above zero, retries not below.");
    this.#url = url.replace(/\/+$/, "");
    this.#apiKey = apiKey;
    this.#token = token;
    this.#timeoutMs = timeoutMs;
    this.#retries = retries;
    this.#fetch = fetch ?? ((/** @type {any} */ input, /** @type {any} */ init) => globalThis.fetch(input, init));
    this.#shrink = shrink;
  }

  /**
   * The model, its classes, and the API's limits.
   * @param {Stoppable} [how]
   * @returns {Promise<ModelDescription>}
   */
  async model({ signal } = {}) {
    const model = await this.#ask("GET", "/v1/model", { signal });
    return checked(model, model.input?.resize > 0 && isObject(model.limits));
  }

  /**
   * Whether the API and the model behind it answer; else a WhippetError.
   * @param {Stoppable} [how]
   * @returns {Promise<Health>}
   */
  health({ signal } = {}) {
    return this.#ask("GET", "/v1/health", { signal });
  }

  /**
   * Label one photo.
   * @param {Photo} photo
   * @param {{ topK?: number } & Stoppable} [how]
   * @returns {Promise<Classification>}
   */
  async classify(photo, { topK = TOP_K, signal } = {}) {
    const model = await this.#known(signal);
    return this.#one(await this.#ready(photo, model), topK, model.limits, signal);
  }

  /**
   * Label many, in order of completion; a photo that fails is an outcome with an `error`. Several go in one request, and no more
   * than `concurrency` requests are under way. Taking no more outcomes stops it. What concerns all photos at the start, such as a
   * wrong key, is thrown.
   * @param {Iterable<Photo> | AsyncIterable<Photo>} photos
   * @param {{ topK?: number, concurrency?: number, onOutcome?: (outcome: Outcome) => void } & Stoppable} [how]
   * @returns {AsyncGenerator<Outcome, void, void>}
   */
  async *classifyMany(photos, { topK = TOP_K, concurrency = 4, onOutcome, signal } = {}) {
    if (!(concurrency >= 1)) throw usage("concurrency must be above zero.");
    const model = await this.#known(signal);
    const packs = new Packs(photos, (photo) => this.#ready(photo, model), model.limits, topK);
    const stop = new AbortController();
    /** @type {Set<Promise<Outcome[]>>} */
    const running = new Set();
    const start = () => {
      const one = packs.next().then((pack) => this.#outcomes(pack, packs, topK, model.limits, stop.signal));
      running.add(one);
      one.then(() => running.delete(one), () => {}); // a failure stays, for the race to find
    };
    try {
      while (running.size || !packs.ended) {
        while (running.size < concurrency && !packs.ended) start();
        for (const outcome of await abortable(Promise.race(running), signal)) {
          onOutcome?.(outcome);
          yield outcome;
        }
      }
    } finally {
      stop.abort();
    }
  }

  /**
   * Put a photo where the API finds it, for jobs.
   * @param {Photo} photo
   * @param {Stoppable} [how]
   * @returns {Promise<string>} Its key, which holds for a day.
   */
  async upload(photo, { signal } = {}) {
    return this.#upload(await this.#ready(photo, await this.#known(signal)), signal);
  }

  /**
   * Begin to classify uploads or an S3 prefix. A request that is repeated because its answer was lost makes no second job.
   * @param {JobRequest} request
   * @param {Stoppable} [how]
   * @returns {Promise<Job>}
   */
  createJob({ topK = TOP_K, token = newToken(), ...what }, { signal } = {}) {
    return this.#ask("POST", "/v1/jobs", { ...json({ ...what, top_k: topK, token }), signal });
  }

  /**
   * How far a job is.
   * @param {string} id
   * @param {Stoppable} [how]
   * @returns {Promise<Job>}
   */
  job(id, { signal } = {}) {
    return this.#ask("GET", `/v1/jobs/${encodeURIComponent(id)}`, { signal });
  }

  /**
   * Cancel a job; its results say which photos were not classified.
   * @param {string} id
   * @param {Stoppable} [how]
   * @returns {Promise<Job>}
   */
  cancelJob(id, { signal } = {}) {
    return this.#ask("DELETE", `/v1/jobs/${encodeURIComponent(id)}`, { signal });
  }

  /**
   * The job once it is done, failed or cancelled.
   * @param {string} id
   * @param {{ pollMs?: number, onProgress?: (job: Job) => void } & Stoppable} [how]
   * @returns {Promise<Job>}
   */
  async waitForJob(id, { pollMs = POLL_MS, onProgress, signal } = {}) {
    for (;;) {
      const job = await this.job(id, { signal });
      onProgress?.(job);
      if (job.state !== "queued" && job.state !== "running") return job;
      await pause(pollMs, signal);
    }
  }

  /**
   * One line a photo of a job that is done or cancelled.
   * @param {string} id
   * @param {Stoppable} [how]
   * @returns {Promise<ResultLine[]>}
   */
  async jobResults(id, { signal } = {}) {
    const { state, results } = await this.job(id, { signal });
    if (!results) throw new WhippetError({ code: "conflict", detail: `The job is ${state}.`, hint: "Results are there once it is done or cancelled." });
    const { response, text } = await this.#retried(() => this.#send(results.url, {}, signal), signal);
    if (!response.ok) throw badAnswer(response.status);
    return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  }

  /** The model as it was told first; a failure is asked again the next time. @param {AbortSignal} [signal] */
  #known(signal) {
    this.#asked ??= this.model().catch((error) => {
      this.#asked = undefined;
      throw error;
    });
    return abortable(this.#asked, signal); // shared: one caller's signal must not stop the others
  }

  /** A photo as it is sent. @param {Photo} photo @param {ModelDescription} model @returns {Promise<Ready>} */
  async #ready(photo, model) {
    const side = SHRINK_FACTOR * model.input.resize;
    const chosen = typeof this.#shrink === "function" ? await this.#shrink(photo, side) : photo;
    const data = await this.#data(chosen);
    const ready = this.#shrink === true ? await shrunk(data, model.input.resize) : data;
    const size = ready instanceof Uint8Array ? ready.byteLength : ready.size;
    const most = Math.max(model.limits.image_bytes, model.limits.upload_bytes);
    if (!size) throw new WhippetError({ code: "bad_image", detail: "The photo is empty.", hint: "Choose it again." });
    if (size > most) throw new WhippetError({ code: "too_large", detail: `The photo has ${size} bytes to send; the API takes ${most}.`, hint: "Scale it down." });
    return { data: ready, size, file: ready === data && asNativeFile(chosen) };
  }

  /** @param {any} photo @returns {Promise<Blob | Uint8Array>} */
  async #data(photo) {
    if (photo instanceof Blob || photo instanceof Uint8Array) return photo;
    if (photo instanceof ArrayBuffer) return new Uint8Array(photo);
    if (ArrayBuffer.isView(photo)) return new Uint8Array(photo.buffer, photo.byteOffset, photo.byteLength);
    if (typeof photo?.uri !== "string") throw usage("This is no photo.", "Give a Blob, a File, bytes or { uri }.");
    try {
      return await (await this.#fetch(photo.uri)).blob();
    } catch (cause) {
      throw new WhippetError({ code: "unreadable", detail: "The photo cannot be read.", hint: "Choose it again.", cause });
    }
  }

  /** @param {Ready} photo @param {number} topK @param {Limits} limits @param {AbortSignal} [signal] @returns {Promise<Classification>} */
  async #one(photo, topK, limits, signal) {
    const large = photo.size > limits.image_bytes;
    const what = large ? json({ upload: await this.#upload(photo, signal) }) : { body: photo.data, type: OCTETS };
    const answer = await this.#ask("POST", `/v1/classify?top_k=${topK}`, { ...what, signal });
    return checked(answer, answer.predictions?.length > 0);
  }

  /** What became of a pack. @param {Item[]} pack @param {Packs} packs @param {number} topK @param {Limits} limits @param {AbortSignal} signal @returns {Promise<Outcome[]>} */
  async #outcomes(pack, packs, topK, limits, signal) {
    const good = pack.flatMap((item) => item.ready ?? []);
    const began = Date.now();
    const answers = await this.#many(good, topK, limits, signal);
    packs.answered(good.length, Date.now() - began);
    return pack.map((item) => outcome(item, item.error ?? answers.shift()));
  }

  /**
   * Labels or an error for each, in their order. A pack that fails as a whole goes one by one where the API is well: a single
   * photo may be the reason.
   * @param {Ready[]} photos @param {number} topK @param {Limits} limits @param {AbortSignal} signal
   * @returns {Promise<any[]>}
   */
  async #many(photos, topK, limits, signal) {
    try {
      if (photos.length > 1) return await this.#batch(photos, topK, signal);
      return await Promise.all(photos.map((photo) => this.#one(photo, topK, limits, signal)));
    } catch (error) {
      if (!(error instanceof WhippetError)) throw error;
      if (photos.length === 1 || HOPELESS.has(error.status) || !(await this.#isWell(signal))) return photos.map(() => error);
    }
    const answers = [];
    for (const photo of photos) answers.push(...(await this.#many([photo], topK, limits, signal)));
    return answers;
  }

  /** @param {Ready[]} photos @param {number} topK @param {AbortSignal} signal @returns {Promise<any[]>} */
  async #batch(photos, topK, signal) {
    const form = new FormData(); // its bytes travel as they are, where JSON would add a third
    photos.forEach((photo, i) => append(form, "images", photo, String(i)));
    const answer = await this.#ask("POST", `/v1/classify/batch?top_k=${topK}`, { body: form, signal });
    checked(answer, answer.results?.length === photos.length);
    return answer.results.map((/** @type {any} */ result) => {
      if (result.error) return new WhippetError({ ...result.error, requestId: answer.request_id });
      return { ...checked(result, result.predictions?.length > 0), model: answer.model };
    });
  }

  /** @param {AbortSignal} signal */
  async #isWell(signal) {
    return this.health({ signal }).then(() => true, (error) => {
      if (error instanceof WhippetError) return false;
      throw error;
    });
  }

  /** The key of a photo that was sent to the store, which must not see the API's key. @param {Ready} photo @param {AbortSignal} [signal] @returns {Promise<string>} */
  async #upload(photo, signal) {
    const known = /^image\/(jpeg|png|webp|gif|bmp|tiff|avif|heic)$/.exec(photo.file?.type || /** @type {any} */ (photo.data).type);
    const ticket = await this.#ask("POST", "/v1/uploads", { ...json({ content_type: known?.[0] ?? "image/jpeg" }), signal });
    checked(ticket, isObject(ticket.fields));
    const form = new FormData();
    for (const [name, value] of Object.entries(ticket.fields)) form.append(name, /** @type {string} */ (value));
    append(form, "file", photo, "photo");
    return this.#retried(async () => {
      const { response } = await this.#send(ticket.url, { method: "POST", body: form }, signal);
      if (response.ok) return ticket.upload;
      throw new WhippetError({ status: response.status, code: "upload_failed", detail: `The upload was refused with status ${response.status}.`, hint: "Try again; permissions hold for five minutes." });
    }, signal);
  }

  /** The JSON object of a good answer. @param {string} method @param {string} route @param {{ body?: any, type?: string, signal?: AbortSignal }} what @returns {Promise<any>} */
  #ask(method, route, { body, type, signal }) {
    return this.#retried(async () => {
      const headers = { Accept: JSON_TYPE, ...(type && { "Content-Type": type }), ...(await this.#proof()) };
      return answerOf(await this.#send(this.#url + route, { method, headers, body }, signal));
    }, signal);
  }

  /** The headers that say who asks. @returns {Promise<Record<string, string>>} */
  async #proof() {
    const token = typeof this.#token === "function" ? await this.#token() : this.#token;
    return { ...(this.#apiKey && { "x-api-key": printable(this.#apiKey) }), ...(token && { Authorization: printable(token) }) };
  }

  /** @template T @param {() => Promise<T>} once @param {AbortSignal} [signal] @returns {Promise<T>} */
  async #retried(once, signal) {
    for (let tries = 0, slow = 0; ; tries++) {
      try {
        return await once();
      } catch (error) {
        if (!(error instanceof WhippetError) || !isTransient(error)) throw error;
        slow += Number(error.code === "timeout" || error.code === "endpoint_timeout");
        if (tries >= this.#retries || slow >= SLOW_TRIES) throw error;
        await pause(waitMs(tries, error), signal);
      }
    }
  }

  /** One try, its whole answer included. @param {string} url @param {RequestInit} init @param {AbortSignal} [signal] */
  async #send(url, init, signal) {
    const stop = new AbortController();
    const pass = () => stop.abort();
    let late = false;
    const timer = setTimeout(() => ((late = true), stop.abort()), this.#timeoutMs);
    signal?.addEventListener("abort", pass);
    try {
      if (signal?.aborted) throw reasonOf(signal);
      const response = await this.#fetch(url, { redirect: "manual", ...init, signal: stop.signal }); // the key is for this server only
      return { response, text: await response.text() };
    } catch (cause) {
      if (signal?.aborted) throw reasonOf(signal);
      throw late ? timeout(this.#timeoutMs, cause) : unreachable(cause);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", pass);
    }
  }
}

/** Takes photos as packs: so many, and so many bytes, as one request bears, and as are answered in about a second. */
class Packs {
  #photos;
  #ready;
  #most;
  #bytes;
  #size;
  #index = 0;
  #done = false;
  /** @type {Item[]} What was taken and did not fit. */
  #left = [];

  /** @param {Iterable<Photo> | AsyncIterable<Photo>} photos @param {(photo: Photo) => Promise<Ready>} ready @param {Limits} limits @param {number} topK */
  constructor(photos, ready, limits, topK) {
    this.#photos = (async function* () {
      yield* photos;
    })();
    this.#ready = ready;
    this.#most = topK <= limits.batch_top_k ? limits.batch : 1;
    this.#bytes = Math.min(PACK_BYTES, limits.image_bytes);
    this.#size = Math.min(FIRST_PACK, this.#most);
  }

  get ended() {
    return this.#done && !this.#left.length;
  }

  /** The next photos, ready to be sent or with an error. */
  async next() {
    const pack = [];
    let bytes = 0;
    while (pack.length < this.#size) {
      const item = this.#left.shift() ?? (await this.#taken());
      if (!item) break;
      if (pack.length && bytes + item.size > this.#bytes) {
        this.#left.push(item);
        break;
      }
      bytes += item.size;
      pack.push(item);
    }
    return pack;
  }

  /** @param {number} photos @param {number} ms */
  answered(photos, ms) {
    if (ms > 2_000) this.#size = Math.max(1, Math.min(this.#size, photos >> 1));
    else if (ms < 500 && photos >= this.#size) this.#size = Math.min(this.#most, 2 * this.#size);
  }

  /** @returns {Promise<Item | undefined>} */
  async #taken() {
    const { done, value: photo } = await this.#photos.next();
    this.#done ||= Boolean(done);
    if (done) return undefined;
    const index = this.#index++;
    try {
      const ready = await this.#ready(photo);
      return { index, photo, ready, size: ready.size };
    } catch (error) {
      if (!(error instanceof WhippetError)) throw error;
      return { index, photo, error, size: 0 };
    }
  }
}

/** @param {Item} item @param {Classification | WhippetError} result @returns {Outcome} */
function outcome({ index, photo }, result) {
  if (result instanceof WhippetError) return { index, photo, ok: false, predictions: [], decision: null, model: null, error: result };
  const { predictions, decision, model } = result;
  return { index, photo, ok: true, predictions, decision, model, error: null };
}

/** The photo upright and shrunk, without metadata; as it is where it is small, where there is no canvas, or in a format the browser cannot read. @param {Blob | Uint8Array} data @param {number} side @returns {Promise<Blob | Uint8Array>} */
async function shrunk(data, side) {
  const blob = data instanceof Blob ? data : typeof document === "undefined" && typeof OffscreenCanvas === "undefined" ? null : new Blob([/** @type {any} */ (data)]);
  return data;
}
