/** One question to one name server, over UDP from a port of its own or over TCP. */
import { createSocket } from "node:dgram";
import { connect, isIPv6 } from "node:net";
import { describeError, InvalidArgumentError, TimeoutError, UnavailableError } from "@heddle/daemon";
import { FLAG, HEADER_BYTES, MAX_MESSAGE_BYTES } from "../codec/constants.ts";

const DNS_PORT = 53;

export interface NameServer {
  host: string;
  port: number;
}

export interface ExchangeOptions {
  server: NameServer;
  /** The query; its ID is the caller's to choose at random. */
  packet: Buffer;
  /** Where the question's section ends in it. */
  questionEnd: number;
  transport: "tcp" | "udp";
  timeoutMs: number;
  /** Told the local port while the question is under way, so that a loop back to ourselves is seen. */
  onPort?: (port: number) => () => void;
}

/** Parses "8.8.8.8", "8.8.8.8:53", "::1" or "[::1]:53". Throws InvalidArgumentError. */
export function parseNameServer(text: string): NameServer {
  if (isIPv6(text)) return { host: text, port: DNS_PORT };
  const [, v6, v4, port] = /^(?:\[([0-9a-f:.]+)\]|([^:[\]\s]+))(?::(\d{1,5}))?$/i.exec(text) ?? [];
  const host = v6 ?? v4;
  if (
    host === undefined ||
    (v6 !== undefined && !isIPv6(v6)) ||
    Number(port ?? DNS_PORT) > 65_535 ||
    Number(port ?? DNS_PORT) < 1
  )
    throw new InvalidArgumentError(
      `invalid recursor '${text}': want an address such as 8.8.8.8, 8.8.8.8:53 or [2001:db8::1]:53`,
    );
  return { host, port: Number(port ?? DNS_PORT) };
}

/** Resolves with the answer. Rejects after `timeoutMs`, or when nobody is there. */
export function exchange(options: ExchangeOptions): Promise<Buffer> {
  return options.transport === "udp" ? overUdp(options) : overTcp(options);
}

function overUdp({ server, packet, questionEnd, timeoutMs, onPort }: ExchangeOptions): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIPv6(server.host) ? "udp6" : "udp4");
    let forgetPort: (() => void) | undefined;
    const finish = (settle: () => void) => {
      clearTimeout(timer);
      forgetPort?.();
      socket.removeAllListeners();
      // A datagram may still be under way to it: an error then has no other listener.
      socket.on("error", () => {});
      socket.close();
      settle();
    };
    const fail = (error: unknown) =>
      finish(() => reject(new UnavailableError(`name server ${server.host} failed`, { cause: error })));
    const timer = setTimeout(
      () => finish(() => reject(new TimeoutError(`name server ${server.host} did not answer within ${timeoutMs} ms`))),
      timeoutMs,
    );
    socket.on("error", fail);
    socket.on("message", (answer) => {
      if (isAnswerTo(answer, packet, questionEnd)) finish(() => resolve(answer));
    });
    // A connected socket takes datagrams from that server only, and hears of a closed port at once.
    socket.connect(server.port, server.host, () => {
      try {
        forgetPort = onPort?.(socket.address().port);
        socket.send(packet);
      } catch (error) {
        fail(error);
      }
    });
  });
}

function overTcp({ server, packet, questionEnd, timeoutMs }: ExchangeOptions): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: server.host, port: server.port });
    const chunks: Buffer[] = [];
    let size = 0;
    const finish = (settle: () => void) => {
      clearTimeout(timer);
      socket.destroy();
      settle();
    };
    const fail = (error: unknown) =>
      finish(() => reject(new UnavailableError(`name server ${server.host} failed: ${describeError(error)}`)));
    const timer = setTimeout(
      () => finish(() => reject(new TimeoutError(`name server ${server.host} did not answer within ${timeoutMs} ms`))),
      timeoutMs,
    );
    socket.on("error", fail);
    socket.on("close", () => fail(new Error("it closed the connection")));
    socket.on("connect", () => {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(packet.length);
      socket.write(Buffer.concat([length, packet]));
    });
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      size += chunk.length;
      if (size > MAX_MESSAGE_BYTES + 2) return fail(new Error("it sent too much"));
      const all = chunks.length === 1 ? chunk : Buffer.concat(chunks, size);
      if (all.length < 2 || all.length < 2 + all.readUInt16BE(0)) return;
      const answer = all.subarray(2, 2 + all.readUInt16BE(0));
      if (isAnswerTo(answer, packet, questionEnd)) finish(() => resolve(answer));
      else fail(new Error("it answered another question"));
    });
  });
}

// ID and question must be ours (RFC 5452 §9.1); a server may spell the question its own way.
function isAnswerTo(answer: Buffer, query: Buffer, questionEnd: number): boolean {
  if (answer.length < questionEnd || answer.readUInt16BE(0) !== query.readUInt16BE(0)) return false;
  if ((answer.readUInt16BE(2) & FLAG.QR) === 0 || answer.readUInt16BE(4) !== 1) return false;
  const question = (packet: Buffer) => packet.toString("latin1", HEADER_BYTES, questionEnd).toLowerCase();
  return question(answer) === question(query);
}
