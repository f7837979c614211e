// Requests to the studio's part of the server, one after the other where they change something.

export class Refusal extends Error {
  constructor(status, answer) {
    super(typeof answer.detail === "string" ? answer.detail : `The server refused it (${status})`);
    this.status = status;
    this.answer = answer;
  }
}

async function answerOf(response) {
  if (response.ok) return response;
  throw new Refusal(response.status, await response.json().catch(() => ({})));
}

async function ask(path, options) {
  try {
    return await answerOf(await fetch(`/api/studio${path}`, { cache: "no-store", ...options }));
  } catch (error) {
    if (error instanceof Refusal || error.name === "AbortError") throw error;
    throw new Refusal(0, { detail: "The server does not answer. Nothing was changed." });
  }
}

export const get = async (path, signal) => (await ask(path, { signal })).json();
export const getBytes = async (path, signal) => (await ask(path, { signal })).arrayBuffer();
export const getBlob = async (path, signal) => (await ask(path, { signal })).blob();

const sent = (method, body) => ({ method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
export const post = async (path, body, signal) => (await ask(path, { ...sent("POST", body), signal })).json();
export const put = async (path, body) => (await ask(path, sent("PUT", body))).json();
export const postForBlob = async (path, body) => (await ask(path, sent("POST", body))).blob();
export const sendFile = async (path, file) =>
  (await ask(path, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file })).json();

// What must not overtake each other waits here; one that fails does not hold up the next.
export class Queue {
  constructor() {
    this.last = Promise.resolve();
    this.waiting = 0;
  }

  add(work) {
    this.waiting++;
    const result = this.last.then(work).finally(() => this.waiting--);
    this.last = result.catch(() => {});
    return result;
  }
}

// Keeps the newest of many values, so that a film of hours needs no more memory than one of seconds.
export class Recent {
  constructor(most) {
    this.most = most;
    this.values = new Map();
  }

  get(key) {
    const value = this.values.get(key);
    if (value === undefined) return undefined;
    this.values.delete(key);
    this.values.set(key, value);
    return value;
  }

  set(key, value) {
    this.values.delete(key);
    this.values.set(key, value);
    for (const oldest of this.values.keys()) {
      if (this.values.size <= this.most) break;
      this.values.delete(oldest);
    }
    return value;
  }

  clear() {
    this.values.clear();
  }
}
