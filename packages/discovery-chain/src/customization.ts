/**
 * The hash that tells chains with different overrides apart. Clients only compare it, but one that follows two clusters may meet
 * both kinds of server, so it is the number that Consul's servers compute (FNV-1 over Go's hashstructure, version 1).
 */

/** The overrides that made a difference; empty or 0 where one did not. */
export interface Customization {
  meshGatewayMode: string;
  protocol: string;
  connectTimeoutMs: number;
}

/** Eight hex digits, or undefined where nothing was overridden. */
export function customizationHash({ meshGatewayMode, protocol, connectTimeoutMs }: Customization): string | undefined {
  if (meshGatewayMode === "" && protocol === "" && connectTimeoutMs === 0) return undefined;
  const nanoseconds = BigInt(Math.round(connectTimeoutMs * 1e6));
  const hash = structHash("", [
    ["OverrideMeshGateway", structHash("MeshGatewayConfig", [["Mode", textHash(meshGatewayMode)]])],
    ["OverrideProtocol", textHash(protocol)],
    ["OverrideConnectTimeout", fnv1(littleEndian(nanoseconds))],
  ]);
  return hash.toString(16).slice(0, 8);
}

function structHash(typeName: string, fields: readonly (readonly [name: string, hash: bigint])[]): bigint {
  let hash = textHash(typeName);
  for (const [name, value] of fields) hash ^= fnv1(Buffer.concat([littleEndian(textHash(name)), littleEndian(value)]));
  return hash;
}

const textHash = (text: string): bigint => fnv1(Buffer.from(text));

function littleEndian(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(BigInt.asIntN(64, value));
  return bytes;
}

const OFFSET = 0xcbf29ce484222325n;
const PRIME = 0x100000001b3n;

function fnv1(bytes: Buffer): bigint {
  let hash = OFFSET;
  for (const byte of bytes) hash = BigInt.asUintN(64, hash * PRIME) ^ BigInt(byte);
  return hash;
}
