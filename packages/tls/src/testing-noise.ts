/** What may come to a TLS port and is no handshake: other protocols, records with lengths that lie, bytes without an order, silence. */
export const NOISES: readonly Buffer[] = [
  Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
  Buffer.from([0x16, 3, 1, 0xff, 0xff, 1, 0, 0xff, 0xff]),
  Buffer.from([0x16, 3, 1, 0, 0]),
  Buffer.from([0x17, 3, 3, 0, 5, 1, 2, 3, 4, 5]),
  Buffer.from([0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10]),
  Buffer.from([0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff]),
  Buffer.from(Array.from({ length: 2_000 }, (_, i) => (i * 7919 + 13) % 256)),
  Buffer.alloc(64 * 1024, 0x16),
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  Buffer.alloc(0),
];
