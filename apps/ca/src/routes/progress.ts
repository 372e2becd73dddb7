/** PUT /internal/v1/ca/progress: an agent tells how far its proxies have followed the active root, and what time it has. */
import type { IncomingMessage, ServerResponse } from "node:http";
import {
  type Clock,
  HeddleError,
  InvalidArgumentError,
  PermissionDeniedError,
  readJson,
  requireRole,
  sendJson,
  toInternalError,
} from "@heddle/daemon";
import { type AgentReport, CLOCKS_APART_MS, type Progress } from "../progress.ts";
import { nameOf } from "./sign.ts";

const PATH = "/internal/v1/ca/progress";
const MAX_BODY_BYTES = 4 * 1024;
const MAX_NODE = 256;
const MAX_COUNT = 1_000_000;
const MAX_TIME_MS = 8.64e15; // as far as a Date goes
const COUNTS = ["proxies", "trusting", "leaves", "renewed"] as const;

/** Answers the internal path; false where the request is for another. */
export function progressRoute(
  progress: Progress,
  clock: Pick<Clock, "now">,
): (req: IncomingMessage, res: ServerResponse) => boolean {
  const answer = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    if (req.method !== "PUT") {
      res.setHeader("Allow", "PUT");
      throw new HeddleError("method_not_allowed", `method ${req.method} not allowed: want PUT`);
    }
    const caller = await requireRole(req, ["agent", "server"]);
    const { node, at, report } = readReport(await readJson(req, MAX_BODY_BYTES));
    if (caller?.node !== undefined && caller.node !== node)
      throw new PermissionDeniedError(`the certificate is of node '${caller.node}', which cannot speak for '${node}'`);
    const clockAheadMs = at === undefined ? undefined : at - clock.now();
    progress.report(`${node}, ${nameOf(req, caller)}`, { ...report, clockAheadMs });
    sendJson(res, 200, { clockAheadMs, allowedMs: CLOCKS_APART_MS });
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

function readReport(body: unknown): { node: string; at: number | undefined; report: AgentReport } {
  const given = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
  const text = (key: string): string => {
    const value = given[key];
    if (typeof value === "string" && value.length <= MAX_NODE && /^[\x20-\x7e]*$/.test(value)) return value;
    throw new InvalidArgumentError(`${key}: want text of at most ${MAX_NODE} printable characters`);
  };
  const { at } = given; // missing where the agent is of an older version
  if (at !== undefined && !(typeof at === "number" && Number.isInteger(at) && Math.abs(at) <= MAX_TIME_MS))
    throw new InvalidArgumentError("at: want milliseconds since the epoch");
  const counts = COUNTS.map((key) => {
    const value = given[key];
    if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= MAX_COUNT) return [key, value];
    throw new InvalidArgumentError(`${key}: want a number from 0 to ${MAX_COUNT}`);
  });
  return {
    node: text("node"),
    at,
    report: { root: text("root"), ...(Object.fromEntries(counts) as Omit<AgentReport, "root">) },
  };
}
