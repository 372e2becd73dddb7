/** A time in milliseconds as certificates have it on the API: `2026-11-22T17:07:44Z`. */
export const rfc3339 = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
