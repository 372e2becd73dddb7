/** What a config entry's keys hold: the one table that reading, unknown keys and the stored form are derived from. */

export type Shape =
  | "boolean"
  | "duration"
  | "float"
  | "integer"
  | "opaque"
  | "text"
  | "unsigned"
  | { fields: Fields /** Absent where not given; otherwise always there. */; optional: boolean }
  | { list: Shape }
  | { map: Shape }
  | { kept: Shape };

export type Fields = Record<string, Shape>;

/** A nested object that is there even when it is not given. */
export const always = (fields: Fields): Shape => ({ fields, optional: false });
/** A nested object that is left out when it is not given. */
export const optional = (fields: Fields): Shape => ({ fields, optional: true });
/** A value that is answered even when it is empty: "", 0, false; null for a list or a map. */
export const kept = (shape: Shape): Shape => ({ kept: shape });
export const list = (shape: Shape): Shape => ({ list: shape });
export const map = (shape: Shape): Shape => ({ map: shape });
