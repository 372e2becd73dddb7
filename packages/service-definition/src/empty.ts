/** Absent and zero are the same in Consul's definitions: drops "", 0 and false. */
export function dropEmpty<T extends object>(values: T): Partial<T> {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value !== 0 && value !== false);
  return Object.fromEntries(given) as Partial<T>;
}
