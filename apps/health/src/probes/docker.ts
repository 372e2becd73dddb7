/** Docker: runs the check's program inside a container through the engine's API (exec create, start, inspect). */
import { request, type RequestOptions } from "node:http";
import { errnoText } from "../go-text.ts";
import { TailBuffer } from "../output.ts";
import { critical, passing, type Probe, ProbeError, type ProbeContext, timeoutOf, warning } from "./probe.ts";

const MAX_JSON_BYTES = 64 * 1024;

export const probe: Probe = async (check, context) => {
  const container = check.DockerContainerID ?? "";
  const command = check.Shell && check.Args?.length === 1 ? [check.Shell, "-c", ...check.Args] : (check.Args ?? []);
  const deadlineAt = context.clock.now() + timeoutOf(check);
  const call = (method: string, path: string, body?: unknown, max = MAX_JSON_BYTES) =>
    callEngine(context, { method, path, body, max, timeoutMs: Math.max(1, deadlineAt - context.clock.now()) });
  try {
    const id = await createExec(call, container, command);
    const output = await startExec(call, container, id, context.outputMaxBytes);
    const code = await inspectExec(call, container, id);
    if (code === 0) return passing(output);
    return code === 1 ? warning(output) : critical(output);
  } catch (error) {
    return critical((error as Error).message);
  }
};

type Reply = { code: number; body: TailBuffer; isMultiplexed: boolean };
type Call = (method: string, path: string, body?: unknown, max?: number) => Promise<Reply>;

async function createExec(call: Call, container: string, command: string[]): Promise<string> {
  const what = `create exec failed`;
  const reply = await call("POST", `/containers/${encodeURIComponent(container)}/exec`, {
    AttachStdin: false,
    AttachStdout: true,
    AttachStderr: true,
    Tty: false,
    Cmd: command,
  }).catch(said(`${what} for container ${container}`));
  if (reply.code === 404) throw new ProbeError(`${what} for unknown container ${container}`);
  if (reply.code === 409) throw new ProbeError(`${what} since container ${container} is paused or stopped`);
  if (reply.code !== 201)
    throw new ProbeError(`${what} for container ${container} with status ${reply.code}: ${reply.body.text()}`);
  const { Id } = parse(reply, `create exec response for container ${container}`) as { Id?: unknown };
  if (typeof Id !== "string" || !/^[\w.-]+$/.test(Id))
    throw new ProbeError(`create exec response for container ${container} has no exec id`);
  return Id;
}

async function startExec(call: Call, container: string, id: string, max: number): Promise<string> {
  const what = "start exec failed";
  const reply = await call("POST", `/exec/${id}/start`, { Detach: false, Tty: false }, max).catch(
    said(`${what} for container ${container}`),
  );
  if (reply.code === 200) return reply.body.captured();
  if (reply.code === 404) throw new ProbeError(`${what} for container ${container}: invalid exec id ${id}`);
  if (reply.code === 409) throw new ProbeError(`${what} since container ${container} is paused or stopped`);
  throw new ProbeError(
    `${what} for container ${container} with status ${reply.code}: body: ${reply.body.text()} err: <nil>`,
  );
}

async function inspectExec(call: Call, container: string, id: string): Promise<number> {
  const what = `inspect exec failed for container ${container}`;
  const reply = await call("GET", `/exec/${id}/json`).catch(said(what));
  if (reply.code === 404) throw new ProbeError(`${what}: invalid exec id ${id}`);
  if (reply.code !== 200) throw new ProbeError(`${what} with status ${reply.code}: ${reply.body.text()}`);
  const { ExitCode } = parse(reply, `inspect exec response for container ${container}`) as { ExitCode?: unknown };
  return typeof ExitCode === "number" ? ExitCode : -1;
}

const said =
  (what: string) =>
  (error: Error): never => {
    throw new ProbeError(`${what}: ${error.message}`);
  };

function parse(reply: Reply, what: string): unknown {
  try {
    return (JSON.parse(reply.body.text()) as unknown) ?? {};
  } catch (cause) {
    throw new ProbeError(`${what} cannot be parsed: ${(cause as Error).message}`, { cause });
  }
}

type EngineCall = { method: string; path: string; body: unknown; max: number; timeoutMs: number };

function callEngine(context: ProbeContext, { method, path, body, max, timeoutMs }: EngineCall): Promise<Reply> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const options: RequestOptions = {
    ...engineAddress(context.dockerHost),
    agent: false,
    method,
    path,
    headers: {
      Host: "docker",
      ...(text !== undefined && { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) }),
    },
  };
  return new Promise((resolve, reject) => {
    const req = request(options);
    const settle = (result: Reply | Error) => {
      timer.cancel();
      context.signal.removeEventListener("abort", onAbort);
      req.destroy();
      if (result instanceof Error) reject(result);
      else resolve(result);
    };
    const timer = context.clock.after(timeoutMs, () => settle(new ProbeError("context deadline exceeded")));
    const onAbort = () => settle(new ProbeError("context canceled"));
    context.signal.addEventListener("abort", onAbort, { once: true });
    req.on("error", (error: NodeJS.ErrnoException) =>
      settle(
        new ProbeError(
          error.syscall === "connect" ? `dial unix ${context.dockerHost}: connect: ${errnoText(error)}` : error.message,
        ),
      ),
    );
    req.on("response", (response) => {
      const isMultiplexed = response.headers["content-type"] === "application/vnd.docker.multiplexed-stream";
      const tail = new TailBuffer(max);
      const take = isMultiplexed ? demultiplex((chunk) => tail.push(chunk)) : (chunk: Buffer) => tail.push(chunk);
      response.on("data", take);
      response.on("error", () => {}); // the engine resets the connection after some answers; what came counts
      response.once("close", () => settle({ code: response.statusCode ?? 0, body: tail, isMultiplexed }));
    });
    req.end(text);
  });
}

function engineAddress(host: string): RequestOptions {
  const url = URL.parse(host);
  if (host.startsWith("unix://")) return { socketPath: host.slice("unix://".length) };
  if (url?.protocol === "tcp:" || url?.protocol === "http:") return { host: url.hostname, port: url.port || 2375 };
  throw new ProbeError(`unable to parse docker host \`${host}\``);
}

// Frames of eight bytes (stream, three zeros, length) and payload: what an exec without a terminal sends.
function demultiplex(push: (chunk: Buffer) => void): (chunk: Buffer) => void {
  const header = Buffer.alloc(8);
  let have = 0;
  let left = 0;
  return (chunk) => {
    for (let at = 0; at < chunk.length; ) {
      if (left > 0) {
        const part = chunk.subarray(at, at + left);
        push(part);
        left -= part.length;
        at += part.length;
        continue;
      }
      const copied = chunk.copy(header, have, at, at + 8 - have);
      have += copied;
      at += copied;
      if (have === 8) {
        left = header.readUInt32BE(4);
        have = 0;
      }
    }
  };
}
