/** Packets sent as they are, for what dig would never send. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { decode, encode, type DecodedPacket, type RecordType } from "dns-packet";

/** The bytes of a plain question. */
export function question(name: string, type: RecordType, id = 1): Buffer {
  return encode({ type: "query", id, flags: 0x0100, questions: [{ type, name }] });
}

/** dns-packet names the code but has no type for it. */
export const rcodeOf = (packet: DecodedPacket): string => (packet as { rcode?: string }).rcode ?? "";

export interface UdpClient extends Disposable {
  send(packet: Buffer): void;
  /** Sends and waits for the answer with the packet's ID. */
  ask(packet: Buffer, timeoutMs?: number): Promise<DecodedPacket>;
}

export function udpClient(port: number): UdpClient {
  const socket = createSocket("udp4");
  return {
    send: (packet) => socket.send(packet, port, "127.0.0.1"),
    ask: (packet, timeoutMs = 5_000) =>
      new Promise((resolve, reject) => {
        const onMessage = (answer: Buffer) => {
          if (answer.readUInt16BE(0) !== packet.readUInt16BE(0)) return;
          clearTimeout(timer);
          socket.off("message", onMessage);
          resolve(decode(answer));
        };
        const timer = setTimeout(() => {
          socket.off("message", onMessage);
          reject(new Error("no answer"));
        }, timeoutMs);
        socket.on("message", onMessage);
        socket.send(packet, port, "127.0.0.1");
      }),
    [Symbol.dispose]: () => socket.close(),
  };
}

export async function tcpClient(port: number): Promise<Socket> {
  const socket = connect({ host: "127.0.0.1", port });
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

/** Resolves when the other side has ended the connection, however it did. */
export function closed(socket: Socket): Promise<void> {
  socket.resume();
  return new Promise((resolve) => (socket.closed ? resolve() : void socket.once("close", () => resolve())));
}

export function framed(...packets: Buffer[]): Buffer {
  return Buffer.concat(
    packets.flatMap((packet) => {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(packet.length);
      return [length, packet];
    }),
  );
}

/** Reads whole messages until `count` have come. */
export async function readMessages(socket: Socket, count: number): Promise<DecodedPacket[]> {
  let buffered = Buffer.alloc(0);
  const messages: DecodedPacket[] = [];
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    buffered = Buffer.concat([buffered, chunk]);
    while (buffered.length >= 2 && buffered.length >= 2 + buffered.readUInt16BE(0)) {
      messages.push(decode(buffered.subarray(2, 2 + buffered.readUInt16BE(0))));
      buffered = buffered.subarray(2 + buffered.readUInt16BE(0));
      if (messages.length === count) return messages;
    }
  }
  throw new Error(`the connection ended after ${messages.length} of ${count} messages`);
}
