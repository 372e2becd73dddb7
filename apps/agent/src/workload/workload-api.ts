/**
 * SPIFFE's Workload API for one service: its X.509-SVID and the trust bundle, now and after each change. Who calls has been
 * attested by whoever hands the connection over (`sockets.ts`).
 */
import type { Http2Server } from "node:http2";
import { describeError, HeddleError, PermissionDeniedError } from "@heddle/daemon";
import type { Followed } from "../followed.ts";
import type { Leaves } from "../leaves.ts";
import type { Watched } from "../watched.ts";
import { createGrpcServer, GRPC, type GrpcCall, GrpcError } from "@heddle/grpc";
import { encodeBundles, encodeSvid } from "./messages.ts";

const WAIT_MS = 5 * 60_000;
const SERVICE = "/SpiffeWorkloadAPI";

export interface WorkloadApiDeps {
  leaves: Pick<Leaves, "get">;
  followed: Pick<Followed, "revocations" | "roots">;
}

/** The server of one service; listens nowhere yet. */
export function createWorkloadApi(service: string, { leaves, followed }: WorkloadApiDeps): Http2Server {
  const { roots, revocations } = followed;
  const svids = stream(async () => {
    const leaf = await leaves.get(service);
    const [own, trusted] = [leaf.value, roots.value];
    const message = own && trusted && { key: own.CertPEM, encode: () => encodeSvid(own, trusted) };
    return { message, watched: [leaf, roots, revocations] };
  }, roots);
  const bundles = stream(async () => {
    const trusted = roots.value;
    return { message: trusted && { key: "", encode: () => encodeBundles(trusted) }, watched: [roots] };
  }, roots);
  const jwt = Object.fromEntries(JWT_METHODS.map((name) => [`${SERVICE}/${name}`, noJwt]));
  return createGrpcServer({ [`${SERVICE}/FetchX509SVID`]: svids, [`${SERVICE}/FetchX509Bundles`]: bundles, ...jwt });
}

/** The other half of the Workload API: whoever asks for it is told what there is instead. */
const JWT_METHODS = ["FetchJWTSVID", "FetchJWTBundles", "ValidateJWTSVID"];

const noJwt = ({ headers }: GrpcCall): Promise<never> => {
  requireHeader(headers);
  throw new GrpcError(GRPC.unimplemented, "JWT-SVIDs are not served here: FetchX509SVID and FetchX509Bundles are");
};

// So that nothing that is tricked into calling an address can call this one (SPIFFE Workload Endpoint §4).
function requireHeader(headers: GrpcCall["headers"]): void {
  if (headers["workload.spiffe.io"] !== "true")
    throw new GrpcError(GRPC.invalidArgument, "security header missing from request: want workload.spiffe.io: true");
}

interface Turn {
  /** What is to be sent, where it is another than the last; `key` and the roots say so. */
  message: { key: string; encode: () => Buffer } | undefined;
  watched: Watched<unknown>[];
}

const stream =
  (take: () => Promise<Turn>, roots: Watched<unknown>) =>
  async ({ headers, signal, send }: GrpcCall): Promise<void> => {
    requireHeader(headers);
    let sent: string | undefined;
    while (!signal.aborted) {
      const { message, watched } = await take().catch((error: unknown) => {
        throw toGrpc(error);
      });
      const state = message && `${message.key} ${roots.index}`;
      if (message && state !== sent) {
        send(message.encode());
        sent = state;
      }
      await changeOfAny(watched, signal);
    }
  };

async function changeOfAny(watched: Watched<unknown>[], signal: AbortSignal): Promise<void> {
  const settled = new AbortController();
  const either = AbortSignal.any([signal, settled.signal]);
  await Promise.race(watched.map((one) => one.changed(one.index, WAIT_MS, either)));
  settled.abort();
}

function toGrpc(error: unknown): GrpcError {
  const code =
    error instanceof PermissionDeniedError
      ? GRPC.permissionDenied
      : error instanceof HeddleError && error.code === "invalid_argument"
        ? GRPC.invalidArgument
        : GRPC.unavailable;
  return new GrpcError(code, describeError(error));
}
