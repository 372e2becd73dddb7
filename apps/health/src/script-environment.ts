/** What of the daemon's environment scripts get: how to find programs and where they are, none of its secrets. */

const PASSED = new Set(["HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER"]);
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** PATH and its like, locales, and the variables that the operator names. */
export function scriptEnvironment(
  env: Record<string, string | undefined>,
  names: readonly string[],
): Record<string, string> {
  const passed: Record<string, string> = { PATH: DEFAULT_PATH };
  for (const [name, value] of Object.entries(env))
    if (value !== undefined && (PASSED.has(name) || name.startsWith("LC_") || names.includes(name)))
      passed[name] = value;
  return passed;
}
