/** Addresses from bytes to text. */

/** "0a000001" as "10.0.0.1"; 32 digits as an IPv6 address in its short form. */
export function formatAddress(hex: string): string {
  if (hex.length === 8) return [...Buffer.from(hex, "hex")].join(".");
  return new URL(`http://[${hex.replace(/(.{4})(?=.)/g, "$1:")}]/`).hostname.slice(1, -1);
}
