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
/** Where CAs tell each other what agents have told them: the one that leads judges by all of them. */
const PEER_PATH = "/internal/v1/ca/progress/told";
export const PEER_ROLES = ["ca", "server"];
const MAX_BODY_BYTES = 4 * 1024;
const MAX_NODE = 256;
const MAX_CALLER = 1_024;
const MAX_COUNT = 1_000_000;
const MAX_TIME_MS = 8.64e15; // as far as a Date goes
const COUNTS = ["proxies", "trusting", "leaves", "renewed"] as const;

export interface ProgressRouteOptions {
  progress: Progress;
  clock: Pick<Clock, "now">;
  /** Tells the other CAs, on a path of their internal API. */
  tellOthers: (path: string, body: unknown) => void;
}

/** Answers the internal paths; false where the request is for another. */
export function progressRoute({
  progress,
  clock,
  tellOthers,
}: ProgressRouteOptions): (req: IncomingMessage, res: ServerResponse) => boolean {
  const allowOnlyPut = (req: IncomingMessage, res: ServerResponse): void => {
    if (req.method === "PUT") return;
    res.setHeader("Allow", "PUT");
    throw new HeddleError("method_not_allowed", `method ${req.method} not allowed: want PUT`);
  };
  const take = (name: string, { at, report }: ReturnType<typeof readReport>) => {
    const clockAheadMs = at === undefined ? undefined : at - clock.now();
    progress.report(name, { ...report, clockAheadMs });
    return clockAheadMs;
  };
  const answerPeer = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    allowOnlyPut(req, res);
    await requireRole(req, PEER_ROLES);
    const body = (await readJson(req, MAX_BODY_BYTES)) as { caller?: unknown } | null;
    const name = body?.caller;
    if (typeof name !== "string" || name === "" || name.length > MAX_CALLER)
      throw new InvalidArgumentError("caller: want who has reported it");
    take(name, readReport(body));
    sendJson(res, 200, {});
  };
  const answer = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    allowOnlyPut(req, res);
    const caller = await requireRole(req, ["agent", "server"]);
    const body = await readJson(req, MAX_BODY_BYTES);
    const read = readReport(body);
    const { node } = read;
    if (caller?.node !== undefined && caller.node !== node)
      throw new PermissionDeniedError(`the certificate is of node '${caller.node}', which cannot speak for '${node}'`);
    const name = `${node}, ${nameOf(req, caller)}`;
    const clockAheadMs = take(name, read);
    tellOthers(PEER_PATH, { ...(body as object), caller: name });
    sendJson(res, 200, { clockAheadMs, allowedMs: CLOCKS_APART_MS });
  };
  return function handleProgress(req, res) {
    const path = req.url?.split("?")[0];
    if (path !== PATH && path !== PEER_PATH) return false;
    (path === PATH ? answer : answerPeer)(req, res).catch((error: unknown) => {
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
