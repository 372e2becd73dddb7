/** PUT /internal/v1/ca/progress: an agent tells how far its proxies have followed the active root. */
import type { IncomingMessage, ServerResponse } from "node:http";
import {
  HeddleError,
  InvalidArgumentError,
  PermissionDeniedError,
  readJson,
  requireRole,
  sendJson,
  toInternalError,
} from "@heddle/daemon";
import type { AgentReport, Progress } from "../progress.ts";
import { nameOf } from "./sign.ts";

const PATH = "/internal/v1/ca/progress";
const MAX_BODY_BYTES = 4 * 1024;
const MAX_NODE = 256;
const MAX_COUNT = 1_000_000;
const COUNTS = ["proxies", "trusting", "leaves", "renewed"] as const;

/** Answers the internal path; false where the request is for another. */
export function progressRoute(progress: Progress): (req: IncomingMessage, res: ServerResponse) => boolean {
  const answer = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    if (req.method !== "PUT") {
      res.setHeader("Allow", "PUT");
      throw new HeddleError("method_not_allowed", `method ${req.method} not allowed: want PUT`);
    }
    const caller = await requireRole(req, ["agent", "server"]);
    const { node, report } = readReport(await readJson(req, MAX_BODY_BYTES));
    if (caller?.node !== undefined && caller.node !== node)
      throw new PermissionDeniedError(`the certificate is of node '${caller.node}', which cannot speak for '${node}'`);
    progress.report(`${node}, ${nameOf(req, caller)}`, report);
    sendJson(res, 200, {});
  };
  return function handleProgress(req, res) {
    if (req.url?.split("?")[0] !== PATH) return false;
    answer(req, res).catch((error: unknown) => {
      const { status, body } = toInternalError(error);
      if (res.headersSent || res.destroyed) return void res.destroy();
      sendJson(res, status, body);
    });
    return true;
  };
}

function readReport(body: unknown): { node: string; report: AgentReport } {
  const given = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
  const text = (key: string): string => {
    const value = given[key];
    if (typeof value === "string" && value.length <= MAX_NODE && /^[\x20-\x7e]*$/.test(value)) return value;
    throw new InvalidArgumentError(`${key}: want text of at most ${MAX_NODE} printable characters`);
  };
  const counts = COUNTS.map((key) => {
    const value = given[key];
    if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= MAX_COUNT) return [key, value];
    throw new InvalidArgumentError(`${key}: want a number from 0 to ${MAX_COUNT}`);
  });
  return {
    node: text("node"),
    report: { root: text("root"), ...(Object.fromEntries(counts) as Omit<AgentReport, "root">) },
  };
}
