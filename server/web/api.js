// Every call to the server, and the key that it may want.

const KEY = "vernier-key";

/** An answer that was not a good one: `title` and `detail` are for people, `code` and `status` for programs. */
export class Trouble extends Error {
  constructor(title, detail, { code = "unreachable", status = 0 } = {}) {
    super(detail);
    Object.assign(this, { title, detail, code, status });
  }
}

let askForKey = async () => null;

/** Set what is called when the server wants a key; it gives the key, or null. */
export function onKeyWanted(ask) {
  askForKey = ask;
}

async function send(path, options = {}) {
  const headers = { ...options.headers };
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The server cannot be reached", "Is it still running?");
  }
  if (answer.status === 401) {
    const given = await askForKey();
    if (given) {
      sessionStorage.setItem(KEY, given);
      return send(path, options);
    }
  }
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Trouble(problem.title ?? `Error ${answer.status}`, problem.detail ?? "", {
      code: problem.code,
      status: answer.status,
    });
  }
  return answer;
}

/** GET or POST JSON. With a file it is sent as a form. */
export async function call(path, { body, file, signal } = {}) {
  if (body === undefined) return (await send(path, { signal })).json();
  if (!file) {
    const headers = { "Content-Type": "application/json" };
    return (await send(path, { method: "POST", headers, body: JSON.stringify(body), signal })).json();
  }
  const form = new FormData();
  form.append("request", new Blob([JSON.stringify(body)], { type: "application/json" }));
  form.append("image", file);
  return (await send(path, { method: "POST", body: form, signal })).json();
}

export const itemPath = (gallery, id) =>
  `/galleries/${encodeURIComponent(gallery)}/items/${encodeURIComponent(id)}`;

/** Show an item's picture in an <img>; where a key is needed, it is fetched with it. */
export async function showPicture(image, gallery, id) {
  const path = `${itemPath(gallery, id)}/image`;
  if (!sessionStorage.getItem(KEY)) {
    image.src = path;
    return;
  }
  const blob = await (await send(path)).blob();
  image.src = URL.createObjectURL(blob);
  image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
}
