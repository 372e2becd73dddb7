/** Serves the web page (apps/ui), which stands beside the bundle. Read when somebody first asks for it. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { sendText } from "@heddle/daemon";

const TYPES = { "ui.html": "text/html", "ui.css": "text/css", "ui.js": "text/javascript" } as const;
type Asset = keyof typeof TYPES;

interface File {
  body: Buffer;
  etag: string;
}

/** Answers the page under `base` ("/ui/"); any path there that is no file of it is the page, as Consul has it. */
export function createPage(base: string): (req: IncomingMessage, res: ServerResponse) => Promise<void> {
  const files = new Map<Asset, Promise<File | undefined>>();
  return async function servePage(req, res) {
    if (req.method !== "GET" && req.method !== "HEAD") {
      res.writeHead(405, { Allow: "GET,HEAD", "Content-Length": 0 }).end();
      return;
    }
    const path = (req.url ?? "").split("?")[0] as string;
    const name = path.slice(base.length);
    const asset: Asset = Object.hasOwn(TYPES, name) ? (name as Asset) : "ui.html";
    let file = files.get(asset);
    if (!file) files.set(asset, (file = load(asset, base)));
    const loaded = await file;
    if (!loaded) {
      sendText(res, 404, "the page is a part of the built command: run ./heddle, or node tools/build.ts");
      return;
    }
    const { body, etag } = loaded;
    const headers = {
      ETag: etag,
      "Cache-Control": "no-cache",
      "X-Content-Type-Options": "nosniff",
      "Referrer-Policy": "no-referrer",
      "Content-Security-Policy":
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    };
    if (req.headers["if-none-match"] === etag) {
      res.writeHead(304, headers).end();
      return;
    }
    res.writeHead(200, {
      ...headers,
      "Content-Type": `${TYPES[asset]}; charset=utf-8`,
      "Content-Length": body.length,
    });
    res.end(req.method === "HEAD" ? undefined : body);
  };
}

/** Undefined where there is no bundle around us: sources that run as they are have no page beside them. */
async function load(asset: Asset, base: string): Promise<File | undefined> {
  const text = await readFile(join(import.meta.dirname, asset), "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  const body = Buffer.from(asset === "ui.html" ? text.replaceAll("{base}", base) : text);
  return { body, etag: `"${createHash("sha256").update(body).digest("base64url").slice(0, 27)}"` };
}
