/** What `http_config` and `translate_wan_addrs` say of every request of the public API: headers, blocked paths, who may write. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { BlockList } from "node:net";
import { sendText } from "@heddle/daemon";
import type { AgentConfig } from "./config/index.ts";

const READS = new Set(["GET", "HEAD", "OPTIONS"]);

/** Sets the headers; false where it has refused the request. The configuration is asked anew where a reload may change it. */
export function prepareSettings(settings: () => AgentConfig): (req: IncomingMessage, res: ServerResponse) => boolean {
  const { http, translateWanAddrs } = settings();
  const writers = http.allowWriteHttpFrom.length > 0 ? toBlockList(http.allowWriteHttpFrom) : undefined;
  return function applySettings(req, res) {
    for (const [name, value] of Object.entries(settings().http.responseHeaders)) res.setHeader(name, value);
    const url = req.url ?? "";
    if (!url.startsWith("/v1/")) return true;
    if (translateWanAddrs) res.setHeader("X-Consul-Translate-Addresses", "true");
    if (http.blockEndpoints.some((prefix) => decodePath(url).startsWith(prefix))) {
      sendText(res, 403, "Endpoint is blocked by agent configuration");
      return false;
    }
    if (writers && !READS.has(req.method ?? "GET") && !isIn(writers, req.socket.remoteAddress ?? "")) {
      sendText(res, 403, "Access is restricted");
      return false;
    }
    return true;
  };
}

function toBlockList(networks: string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = "", bits] = network.split("/");
    const family = address.includes(":") ? "ipv6" : "ipv4";
    list.addSubnet(address, Number(bits ?? (family === "ipv6" ? 128 : 32)), family);
  }
  return list;
}

function isIn(list: BlockList, address: string): boolean {
  const plain = address.replace(/^::ffff:(?=\d+\.)/, "");
  return list.check(plain, plain.includes(":") ? "ipv6" : "ipv4");
}

/** The path as rows are found by it: an escape must not be a way around a block. */
function decodePath(url: string): string {
  const path = url.split("?", 1)[0] ?? "";
  if (!path.includes("%")) return path;
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
