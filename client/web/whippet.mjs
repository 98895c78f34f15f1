/**
 * Whippet's client for web pages, React Native and node from 18 on: one file, nothing to install.
 *
 *     const whippet = new Whippet({ url: "https://example.org/prod", token: () => session.idToken });
 *     const { predictions } = await whippet.classify(file);
 *
 * Answers are the API's own JSON, with its names (docs/api.md). What fails is a WhippetError; what a `signal` aborts
 * rejects with its reason.
 */

/** @typedef {{ uri: string, type?: string, name?: string }} NativePhoto A photo of React Native, by its address. */
/** @typedef {Blob | ArrayBuffer | ArrayBufferView | NativePhoto} Photo A File is a Blob, a Buffer a view. */
/** @typedef {"confident" | "unsure" | "unknown"} Decision */
/** @typedef {{ label: string, class_id: string, score: number }} Prediction `score` is calibrated, from 0 to 1. */
/** @typedef {{ name: string, version: string }} Model */
/** @typedef {{ status: "ok", model: Model }} Health */
/** @typedef {{ signal?: AbortSignal }} Stoppable */
/**
 * @typedef {object} Classification
 * @property {Prediction[]} predictions By falling score.
 * @property {Decision} decision
 * @property {Model} model
 * @property {string} request_id
 * @property {Record<string, number>} timings_ms
 */
/**
 * @typedef {object} Limits
 * @property {number} image_bytes
 * @property {number} upload_bytes
 * @property {number} batch Photos in one request.
 * @property {number} batch_top_k
 */
/**
 * @typedef {object} ModelDescription
 * @property {string} name
 * @property {string} version
 * @property {{ class_id: string, label: string }[]} classes
 * @property {{ resize: number, crop: number }} input What the model looks at, in pixels.
 * @property {Limits & Record<string, number>} limits
 */
/** @typedef {{ ok: true, predictions: Prediction[], decision: Decision, model: Model, error: null }} Labelled */
/** @typedef {{ ok: false, predictions: [], decision: null, model: null, error: WhippetError }} Failed */
/** @typedef {(Labelled | Failed) & { index: number, photo: Photo }} Outcome Of the photo with number `index`. */
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
 * @property {{ status: number, code: string, detail: string, hint: string } | null} error Why all of it failed.
 */
/**
 * @typedef {object} JobRequest Either uploads or a prefix.
 * @property {{ upload: string, id?: string }[]} [uploads] Keys that `upload` gave.
 * @property {string} [prefix] `s3://bucket/prefix/`
 * @property {number} [topK]
 * @property {string} [token] The same token and request give the same job; by default each call has its own.
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
/**
 * @typedef {object} Options
 * @property {string} url Where the API is; on AWS it ends in the stage, such as /prod.
 * @property {string} [apiKey] For servers alone: a key in a web page or an app is everybody's. There it is `token`.
 * @property {string | (() => string | Promise<string>)} [token] A signed-in user's ID token (Cognito), or a function
 *   that gives it, asked before each try.
 * @property {number} [timeoutMs] For each try, sending the photo included; 30,000.
 * @property {number} [retries] How often 429, 502, 503, 504 and lost connections are tried again; 4.
 * @property {typeof globalThis.fetch} [fetch] Instead of the global one.
 * @property {boolean | ((photo: Photo, side: number) => Photo | Promise<Photo>)} [shrink] Whether large photos are
 *   shrunk where there is a canvas; true. A function does it its own way, to `side` pixels of the shorter side.
 */

/** @typedef {{ data: Blob | Uint8Array, size: number, file: any }} Ready As it is sent; `file` is for forms. */
/** @typedef {{ index: number, photo: Photo, size: number, ready?: Ready, error?: WhippetError }} Item */

// Times the model's input side, a whole number so that the server's own resize meets the grid it meets on the full
// photo. Browsers halve the resolution of colour in a JPEG: of 420 photos of 12 megapixels three times at 0.85 moves 5
// best labels, twice at 0.89 13, twice at 0.95 6; Pillow's twice at 0.89 with all its colour 5.
const SHRINK_FACTOR = 3;
const JPEG_QUALITY = 0.85;
const SMALL_BYTES = 100_000; // about what shrinking makes of a photo
const PACK_BYTES = 4_000_000; // of photos in one request: base64 makes 4/3 of them in Lambda's event of 6 MB
const FIRST_PACK = 8;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8_000;
const JITTER_MS = 500;
const LONGEST_RETRY_AFTER_MS = 30_000; // beyond it an error is worth more than a silent wait
const SLOW_TRIES = 2; // each late answer costs half a minute
const OCTETS = "application/octet-stream"; // the first bytes tell the format; API Gateway takes unlisted types for text
const MEDIA_TYPE = /^image\/(jpeg|png|webp|gif|bmp|tiff|avif|heic)$/;
const RETRYABLE = new Set([429, 502, 503, 504]);
const HOPELESS = new Set([401, 403, 422, 429]); // for a pack, and so for its photos one by one
/** @type {Record<number, string>} */
const CODES = {
  400: "bad_request",
  401: "unauthorized",
  403: "forbidden",
  404: "not_found",
  409: "conflict",
  413: "too_large",
  415: "unsupported_media_type",
  422: "bad_parameter",
  429: "throttled",
  500: "internal",
  502: "endpoint_failed",
  503: "endpoint_unavailable",
  504: "endpoint_timeout",
};

/** What went wrong: branch on `code` and `status`, show `detail` (the fact) and `hint` (the mend). */
export class WhippetError extends Error {
  /** @param {{ code: string, detail: string, hint?: string, status?: number, requestId?: string,
   *   retryAfterMs?: number, cause?: unknown }} what */
  constructor({ code, detail, hint = "", status = 0, requestId = "", retryAfterMs, cause }) {
    super(`${detail} ${hint}`.trim());
    this.name = "WhippetError";
    /** The API's (docs/api.md), `usage`, `unreadable`, `unreachable`, `timeout`, `bad_answer` or `upload_failed`. */
    this.code = code;
    this.detail = detail;
    this.hint = hint;
    /** Of the answer; 0 where there is none. */
    this.status = status;
    /** By which the request is found in the API's logs; "" where no answer said one. */
    this.requestId = requestId;
    /** What the API asks to wait, in milliseconds, where it does. */
    this.retryAfterMs = retryAfterMs;
    if (cause !== undefined) this.cause = cause;
  }
}

/** One API. Key and token are private, so that neither a log nor JSON of it shows them. */
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
    if (!/^https?:\/\/[^\s?#@]+$/i.test(url ?? "")) {
      throw failure("usage", "The API's URL cannot be used.", "It looks like https://HOST/STAGE.");
    }
    if (!(timeoutMs > 0 && retries >= 0)) {
      throw failure("usage", "A setting is out of range.", "timeoutMs is above zero, retries is not below.");
    }
    this.#url = url.replace(/\/+$/, "");
    this.#apiKey = apiKey;
    this.#token = token;
    this.#timeoutMs = timeoutMs;
    this.#retries = retries;
    this.#fetch = fetch ?? ((/** @type {any} */ what, /** @type {any} */ how) => globalThis.fetch(what, how));
    this.#shrink = shrink;
  }

  /** The model, its classes, and the API's limits. @param {Stoppable} [how] @returns {Promise<ModelDescription>} */
  async model({ signal } = {}) {
    const model = await this.#ask("GET", "/v1/model", { signal });
    return checked(model, model.input?.resize > 0 && isObject(model.limits));
  }

  /**
   * Whether the API and the model behind it answer; rejects where they do not.
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
  async classify(photo, { topK = 5, signal } = {}) {
    const model = await this.#known(signal);
    return this.#one(await this.#ready(photo, model), topK, model.limits, signal);
  }

  /**
   * Label many, in order of completion. A photo that fails is an outcome with an `error`; what concerns all of them at
   * the start, such as a wrong key, is thrown. Several go in one request, and at most `concurrency` requests are under
   * way; whoever takes no more outcomes stops it.
   * @param {Iterable<Photo> | AsyncIterable<Photo>} photos
   * @param {{ topK?: number, concurrency?: number, onOutcome?: (outcome: Outcome) => void } & Stoppable} [how]
   * @returns {AsyncGenerator<Outcome, void, void>}
   */
  async *classifyMany(photos, { topK = 5, concurrency = 4, onOutcome, signal } = {}) {
    if (!(concurrency >= 1)) throw failure("usage", "concurrency is out of range.", "It is 1 or more.");
    const model = await this.#known(signal);
    const packs = new Packs(photos, (photo) => this.#ready(photo, model), model.limits, topK);
    const stop = new AbortController();
    /** @type {Set<Promise<Outcome[]>>} */
    const running = new Set();
    const start = () => {
      const one = packs.next().then((pack) => this.#outcomes(pack, packs, topK, model.limits, stop.signal));
      running.add(one);
      one.then(() => running.delete(one), () => {}); // what rejects stays, for the race to find
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
      packs.close();
    }
  }

  /**
   * Put a photo where a job finds it.
   * @param {Photo} photo
   * @param {Stoppable} [how]
   * @returns {Promise<string>} Its key, which holds for a day.
   */
  async upload(photo, { signal } = {}) {
    return this.#upload(await this.#ready(photo, await this.#known(signal)), signal);
  }

  /**
   * Begin to classify uploads or an S3 prefix. Tries after a lost answer make no second job.
   * @param {JobRequest} request
   * @param {Stoppable} [how]
   * @returns {Promise<Job>}
   */
  createJob({ topK = 5, token = newToken(), ...what }, { signal } = {}) {
    return this.#ask("POST", "/v1/jobs", { ...json({ ...what, top_k: topK, token }), signal });
  }

  /** How far a job is. @param {string} id @param {Stoppable} [how] @returns {Promise<Job>} */
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
  async waitForJob(id, { pollMs = 5_000, onProgress, signal } = {}) {
    for (;;) {
      const job = await this.job(id, { signal });
      onProgress?.(job);
      if (job.state !== "queued" && job.state !== "running") return job;
      await pause(pollMs, signal);
    }
  }

  /**
   * The results of a job that is done or cancelled, one a photo.
   * @param {string} id
   * @param {Stoppable} [how]
   * @returns {Promise<ResultLine[]>}
   */
  async jobResults(id, { signal } = {}) {
    const { state, results } = await this.job(id, { signal });
    if (!results) throw failure("conflict", `The job is ${state}.`, "There are results once it is done or cancelled.");
    return this.#retried(async () => {
      const { response, text } = await this.#send(results.url, {}, signal);
      /** @type {any[]} */
      const lines = text.split("\n").filter(Boolean).map(parsed);
      if (!response.ok || lines.includes(undefined)) throw badAnswer(response.status);
      return lines;
    }, signal);
  }

  /** The model as it was told first; after a failure it is asked again. @param {AbortSignal} [signal] */
  #known(signal) {
    this.#asked ??= this.model().catch((error) => {
      this.#asked = undefined;
      throw error;
    });
    return abortable(this.#asked, signal); // the request is shared: one caller's signal must not stop the others
  }

  /** @param {Photo} photo @param {ModelDescription} model @returns {Promise<Ready>} */
  async #ready(photo, { input, limits }) {
    const side = SHRINK_FACTOR * input.resize;
    const chosen = typeof this.#shrink === "function" ? await this.#shrink(photo, side) : photo;
    const data = await this.#data(chosen);
    const ready = this.#shrink === true ? await shrunk(data, input.resize) : data;
    const size = ready instanceof Uint8Array ? ready.byteLength : ready.size;
    const most = Math.max(limits.image_bytes, limits.upload_bytes);
    if (!size) throw failure("bad_image", "The photo is empty.", "Choose it again.");
    if (size > most) {
      throw failure("too_large", `The photo has ${size} bytes to send; the API takes ${most}.`, "Scale it down.");
    }
    return { data: ready, size, file: nativeFile(chosen) };
  }

  /** @param {any} photo @returns {Promise<Blob | Uint8Array>} */
  async #data(photo) {
    if (photo instanceof Blob || photo instanceof Uint8Array) return photo;
    if (photo instanceof ArrayBuffer) return new Uint8Array(photo);
    if (ArrayBuffer.isView(photo)) return new Uint8Array(photo.buffer, photo.byteOffset, photo.byteLength);
    if (typeof photo?.uri !== "string") throw failure("usage", "That is no photo.", "Give a Blob, bytes or { uri }.");
    try {
      return await (await this.#fetch(photo.uri)).blob();
    } catch (cause) {
      throw failure("unreadable", "The photo cannot be read.", "Choose it again.", { cause });
    }
  }

  /** What became of a pack.
   * @param {Item[]} pack @param {Packs} packs @param {number} topK @param {Limits} limits
   * @param {AbortSignal} signal */
  async #outcomes(pack, packs, topK, limits, signal) {
    const good = pack.flatMap((item) => item.ready ?? []);
    const began = Date.now();
    const answers = await this.#many(good, topK, limits, signal);
    packs.answered(good.length, Date.now() - began);
    return pack.map((item) => outcome(item, item.error ?? answers.shift()));
  }

  /** Labels or an error for each, in their order. Where a pack fails as a whole and the API is well, one photo may be
   * the reason: they go one by one.
   * @param {Ready[]} photos @param {number} topK @param {Limits} limits @param {AbortSignal} signal
   * @returns {Promise<any[]>} */
  async #many(photos, topK, limits, signal) {
    try {
      if (photos.length > 1) return await this.#batch(photos, topK, signal);
      return await Promise.all(photos.map((photo) => this.#one(photo, topK, limits, signal)));
    } catch (error) {
      if (!(error instanceof WhippetError)) throw error;
      const alone = photos.length > 1 && !HOPELESS.has(error.status) && (await this.#isWell(signal));
      if (!alone) return photos.map(() => error);
    }
    const answers = [];
    for (const photo of photos) answers.push(...(await this.#many([photo], topK, limits, signal)));
    return answers;
  }

  /** @param {Ready} photo @param {number} topK @param {Limits} limits @param {AbortSignal} [signal]
   * @returns {Promise<Classification>} */
  async #one(photo, topK, limits, signal) {
    const large = photo.size > limits.image_bytes;
    const what = large ? json({ upload: await this.#upload(photo, signal) }) : { body: photo.data, type: OCTETS };
    const answer = await this.#ask("POST", `/v1/classify?top_k=${topK}`, { ...what, signal });
    return checked(answer, answer.predictions?.length > 0);
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
    try {
      return Boolean(await this.health({ signal }));
    } catch (error) {
      if (error instanceof WhippetError) return false;
      throw error;
    }
  }

  /** The form goes to a store, which must not see the key. @param {Ready} photo @param {AbortSignal} [signal]
   * @returns {Promise<string>} */
  async #upload(photo, signal) {
    const { type } = photo.file ?? photo.data;
    const wanted = json({ content_type: MEDIA_TYPE.test(type) ? type : "image/jpeg" });
    const ticket = await this.#ask("POST", "/v1/uploads", { ...wanted, signal });
    const form = new FormData();
    for (const [name, value] of Object.entries(ticket.fields ?? {})) form.append(name, String(value));
    append(form, "file", photo, "photo");
    return this.#retried(async () => {
      const { response } = await this.#send(ticket.url, { method: "POST", body: form }, signal);
      if (response.ok) return ticket.upload;
      const { status } = response;
      throw failure("upload_failed", `The upload was refused with status ${status}.`, "Try again.", { status });
    }, signal);
  }

  /** The JSON object of a good answer. @param {string} method @param {string} route
   * @param {{ body?: any, type?: string, signal?: AbortSignal }} what @returns {Promise<any>} */
  #ask(method, route, { body, type, signal }) {
    return this.#retried(async () => {
      const headers = { Accept: "application/json", ...(type && { "Content-Type": type }), ...(await this.#proof()) };
      return answerOf(await this.#send(this.#url + route, { method, headers, body }, signal));
    }, signal);
  }

  /** The headers that say who asks. @returns {Promise<Record<string, string>>} */
  async #proof() {
    const token = typeof this.#token === "function" ? await this.#token() : this.#token;
    return {
      ...(this.#apiKey && { "x-api-key": printable(this.#apiKey) }),
      ...(token && { Authorization: printable(token) }),
    };
  }

  /** @template T @param {() => Promise<T>} once @param {AbortSignal} [signal] @returns {Promise<T>} */
  async #retried(once, signal) {
    for (let tries = 0, slow = 0; ; tries++) {
      try {
        return await once();
      } catch (error) {
        if (!(error instanceof WhippetError && isTransient(error))) throw error;
        slow += Number(error.code === "timeout" || error.code === "endpoint_timeout");
        if (tries >= this.#retries || slow >= SLOW_TRIES) throw error;
        await pause(waitMs(tries, error), signal);
      }
    }
  }

  /** One try with its whole answer. @param {string} url @param {RequestInit} what @param {AbortSignal} [signal] */
  async #send(url, what, signal) {
    const stop = new AbortController();
    const pass = () => stop.abort();
    let late = false;
    const timer = setTimeout(() => ((late = true), stop.abort()), this.#timeoutMs);
    signal?.addEventListener("abort", pass);
    try {
      if (signal?.aborted) throw reasonOf(signal);
      // Without redirects: the key is for this server only.
      const response = await this.#fetch(url, { redirect: "manual", ...what, signal: stop.signal });
      return { response, text: await response.text() };
    } catch (cause) {
      if (signal?.aborted) throw reasonOf(signal);
      throw late ? timedOut(this.#timeoutMs, cause) : unreachable(cause);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", pass);
    }
  }
}

/** Photos as packs: as many as one request may hold, by number and bytes, and as are answered in about a second. */
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

  /** @param {Iterable<Photo> | AsyncIterable<Photo>} photos @param {(photo: Photo) => Promise<Ready>} ready
   * @param {Limits} limits @param {number} topK */
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

  /** The next photos, each ready to be sent or with an error. */
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

  /** @param {number} photos @param {number} ms How long their answer took. */
  answered(photos, ms) {
    if (ms > 2_000) this.#size = Math.max(1, Math.min(this.#size, photos >> 1));
    else if (ms < 500 && photos >= this.#size) this.#size = Math.min(this.#most, 2 * this.#size);
  }

  /** Nothing is taken any more; a generator of photos ends. */
  close() {
    this.#photos.return(undefined).catch(() => {});
  }

  /** @returns {Promise<Item | undefined>} */
  async #taken() {
    const { done, value: photo } = await this.#photos.next();
    if (done) {
      this.#done = true;
      return undefined;
    }
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
  if (result instanceof WhippetError) {
    return { index, photo, ok: false, predictions: [], decision: null, model: null, error: result };
  }
  const { predictions, decision, model } = result;
  return { index, photo, ok: true, predictions, decision, model, error: null };
}

/**
 * The photo upright, shrunk and without metadata; as it is where it is small, where no canvas can be trusted, or where
 * this browser cannot read it.
 * @param {Blob | Uint8Array} data @param {number} side @returns {Promise<Blob | Uint8Array>}
 */
async function shrunk(data, side) {
  if (!canvasIsTrue()) return data;
  const blob = asBlob(data);
  if (blob.size <= SMALL_BYTES) return data;
  const bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" }).catch(() => null);
  if (!bitmap) return data;
  const [short, long] = [bitmap.width, bitmap.height].sort((a, b) => a - b);
  const newShort = SHRINK_FACTOR * side;
  const newLong = SHRINK_FACTOR * Math.floor((side * long) / short); // as the server's own resize rounds
  const [width, height] = bitmap.width <= bitmap.height ? [newShort, newLong] : [newLong, newShort];
  const small = short > newShort ? await jpeg(bitmap, width, height) : null;
  bitmap.close();
  return small ?? data;
}

/** @param {ImageBitmap} bitmap @param {number} width @param {number} height @returns {Promise<Blob | null>} */
async function jpeg(bitmap, width, height) {
  const { canvas, context } = newCanvas(width, height);
  context.fillStyle = "#fff"; // what the server puts behind transparency
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  if (canvas.convertToBlob) return canvas.convertToBlob({ type: "image/jpeg", quality: JPEG_QUALITY });
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", JPEG_QUALITY));
}

/** Whether there is a canvas that gives back what is drawn: browsers that hide their user's machine give noise. */
function canvasIsTrue() {
  if (typeof createImageBitmap === "undefined") return false;
  const { context } = newCanvas(1, 1);
  context.fillStyle = "#f00";
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return red > 250 && green < 5 && blue < 5;
}

/** @param {number} width @param {number} height @returns {any} */
function newCanvas(width, height) {
  const offscreen = typeof OffscreenCanvas !== "undefined";
  const canvas = offscreen ? new OffscreenCanvas(width, height) : document.createElement("canvas");
  Object.assign(canvas, { width, height });
  return { canvas, context: canvas.getContext("2d") };
}

/** @param {any} data @returns {Blob} */
function asBlob(data) {
  return data instanceof Blob ? data : new Blob([data]);
}

/** What React Native's forms take for a file; others take a Blob. @param {any} photo */
function nativeFile({ uri, type = "image/jpeg", name = "photo" }) {
  return globalThis.navigator?.product === "ReactNative" && uri ? { uri, type, name } : undefined;
}

/** @param {FormData} form @param {string} field @param {Ready} photo @param {string} name */
function append(form, field, { data, file }, name) {
  if (file) form.append(field, file);
  else form.append(field, asBlob(data), name);
}

/** @param {{ response: Response, text: string }} answer @returns {any} */
function answerOf({ response: { ok, status, headers }, text }) {
  const data = parsed(text);
  if (isObject(data) && ok) return data;
  const code = isObject(data) && (data.code ?? CODES[status]); // a gateway's {"message"} has no code
  if (typeof code !== "string") throw badAnswer(status);
  const requestId = data.request_id ?? headers.get("x-request-id") ?? "";
  const retryAfterMs = milliseconds(headers.get("retry-after"));
  const detail = data.detail ?? `The API refused it (${code}).`;
  throw failure(code, detail, data.hint, { status, requestId, retryAfterMs });
}

/** @param {string} text @returns {any} */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A Retry-After (RFC 9110, 10.2.3): seconds, or a date. @param {string | null} text */
function milliseconds(text) {
  const wait = /^\d+$/.test(text ?? "") ? 1000 * Number(text) : Date.parse(text ?? "") - Date.now();
  return Number.isNaN(wait) ? undefined : Math.max(0, wait);
}

/** @param {number} tries @param {WhippetError} error */
function waitMs(tries, { retryAfterMs }) {
  if (retryAfterMs !== undefined) return Math.min(retryAfterMs, LONGEST_RETRY_AFTER_MS);
  return Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** tries) + JITTER_MS * Math.random();
}

/** @param {WhippetError} error */
function isTransient({ status, code }) {
  return RETRYABLE.has(status) || code === "unreachable" || code === "timeout";
}

/** @param {unknown} value @returns {value is Record<string, any>} */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @template T @param {T} answer @param {boolean} whole @returns {T} */
function checked(answer, whole) {
  if (!whole) throw badAnswer(200);
  return answer;
}

/** A secret that a header takes: the error of fetch would show it. @param {string} secret */
function printable(secret) {
  if (/^[!-~]+$/.test(secret)) return secret;
  throw failure("usage", "The key or token has characters that none has.", "Copy it again, without spaces.");
}

/** @param {unknown} value */
function json(value) {
  return { body: JSON.stringify(value), type: "application/json" };
}

function newToken() {
  return globalThis.crypto?.randomUUID?.() ?? `${Date.now()}-${Math.random()}`; // React Native and plain http lack it
}

/** @param {number} ms @param {AbortSignal} [signal] */
function pause(ms, signal) {
  /** @type {any} */
  let timer;
  const over = new Promise((resolve) => (timer = setTimeout(resolve, ms)));
  return abortable(over, signal).finally(() => clearTimeout(timer));
}

/** What the promise comes to, or the signal's reason once it aborts. @template T @param {Promise<T>} promise
 * @param {AbortSignal} [signal] @returns {Promise<T>} */
function abortable(promise, signal) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const stop = () => reject(reasonOf(signal));
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop);
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

/** @param {AbortSignal} signal */
function reasonOf(signal) {
  return signal.reason ?? Object.assign(new Error("It was aborted."), { name: "AbortError" }); // React Native has none
}

/** @param {string} code @param {string} detail @param {string} [hint] @param {object} [more] */
function failure(code, detail, hint, more) {
  return new WhippetError({ code, detail, hint, ...more });
}

/** @param {unknown} cause */
function unreachable(cause) {
  const hint = "Check the URL and the network; on a web page also that the API lists its origin (AllowedOrigins).";
  return failure("unreachable", "The API cannot be reached.", hint, { cause });
}

/** @param {number} ms @param {unknown} cause */
function timedOut(ms, cause) {
  return failure("timeout", `No answer within ${ms} ms.`, "Raise timeoutMs, or try again.", { cause });
}

/** @param {number} status */
function badAnswer(status) {
  const hint = "Check the URL and what is in between: a proxy, a login page.";
  return failure("bad_answer", `The answer (status ${status}) is not one of this API's.`, hint, { status });
}
