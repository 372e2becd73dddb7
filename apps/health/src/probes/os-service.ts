/** OS service: asks systemd whether a unit is active; where there is no systemd, says so. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { critical, passing, type Probe, timeoutOf, warning } from "./probe.ts";

const SYSTEMD_DIR = "/run/systemd/system"; // sd_booted(3)

export const probe: Probe = async (check, context) => {
  const unit = check.OSService ?? "";
  if (!/^[\w@.:\\-]{1,256}$/.test(unit) || unit.startsWith("-"))
    return critical(`invalid service name ${JSON.stringify(unit)}`);
  if (!existsSync(SYSTEMD_DIR)) return critical(`cannot check service "${unit}": systemd is not running on this host`);
  const state = await new Promise<string>((resolve) => {
    execFile(
      "systemctl",
      ["is-active", "--", unit],
      {
        timeout: timeoutOf(check),
        killSignal: "SIGKILL",
        maxBuffer: 4_096,
        env: context.scriptEnv,
        signal: context.signal,
      },
      (error, stdout) => resolve(stdout.trim() || (error?.message ?? "unknown")),
    );
  });
  if (state === "active") return passing(`Service "${unit}" is healthy`);
  return ["activating", "reloading"].includes(state)
    ? warning(`Service "${unit}" is ${state}`)
    : critical(`Service "${unit}" is unhealthy: ${state}`);
};
