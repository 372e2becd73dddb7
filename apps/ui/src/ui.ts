/** The page: shows the list that the address's hash names, and follows it. All that was registered becomes text, never markup. */
import type { Intention } from "@heddle/intentions";
import { element, toRow } from "./dom.ts";
import { createExplainer } from "./explain.ts";
import { type List, listOf } from "./lists.ts";

const RETRY_MS = 2_000;

const explainer = createExplainer();

function draw(list: List, body: unknown): void {
  const rows = list.rows(body);
  element("rows").replaceChildren(...rows.map((cells) => toRow("td", cells)));
  element("state").textContent = rows.length === 0 ? "There are none." : "";
  if (list.areIntentions) explainer.take({ intentions: body as Intention[] });
}

/** Tells what holds where no rule matches: a header of the list says so, and the stream has none. Tried until it is known. */
async function learnDefault(list: List, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      return readDefault(await fetch(list.path, { signal }));
    } catch {
      await pause();
    }
  }
}

function readDefault(answer: Response): void {
  if (!answer.ok) throw new Error(`${answer.status} from ${answer.url}`);
  explainer.take({ defaultAllow: answer.headers.get("X-Consul-Default-ACL-Policy") !== "deny" });
}

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, RETRY_MS));

/** Follows a list until `signal` aborts: on the change stream, and by blocking reads where that cannot be had. */
async function follow(list: List, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const hasStreamed = await followStream(list, signal);
    if (!hasStreamed && !signal.aborted) await followReads(list, signal);
  }
}

/** Resolves when the stream ends, to whether it has given an answer. */
function followStream(list: List, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/v1/stream`);
    let hasStreamed = false;
    signal.addEventListener("abort", () => socket.close(), { once: true });
    socket.onopen = () => {
      socket.send(JSON.stringify({ id: 1, subscribe: list.path }));
      if (list.areIntentions) void learnDefault(list, signal);
    };
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(String(data)) as { body?: unknown; error?: { message: string } };
      if (signal.aborted) return;
      if (message.error) return socket.close();
      hasStreamed = true;
      draw(list, message.body);
    };
    socket.onclose = () => resolve(hasStreamed);
  });
}

/** Follows a list by blocking reads until one fails. */
async function followReads(list: List, signal: AbortSignal): Promise<void> {
  let index = 0;
  try {
    while (!signal.aborted) {
      const mark = list.path.includes("?") ? "&" : "?";
      const answer = await fetch(`${list.path}${mark}index=${index}&wait=60s`, { signal });
      if (!answer.ok && answer.status !== 404) throw new Error(`${answer.status}: ${await answer.text()}`);
      const next = Number(answer.headers.get("X-Consul-Index"));
      // An index that goes back is of another life of the catalog (a restore).
      index = next < index ? 0 : Math.max(next, 1);
      if (list.areIntentions) readDefault(answer);
      draw(list, answer.ok ? await answer.json() : []);
    }
  } catch (error) {
    if (signal.aborted) return;
    element("state").textContent = `The agent does not answer, trying again: ${String(error)}`;
    await pause();
  }
}

let current = new AbortController();
function show(): void {
  current.abort();
  current = new AbortController();
  const list = listOf(location.hash);
  element("title").textContent = list.title;
  document.title = `${list.title} – Heddle`;
  element("heads").replaceChildren(
    toRow(
      "th",
      list.heads.map((text) => ({ text })),
    ),
  );
  element("rows").replaceChildren();
  const kind = location.hash.split("/")[0] || "#services";
  explainer.show(location.hash);
  for (const link of document.querySelectorAll("nav a"))
    link.toggleAttribute("aria-current", link.getAttribute("href") === kind);
  void follow(list, current.signal);
}
addEventListener("hashchange", show);
show();
