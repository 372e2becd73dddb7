import { execFileSync } from "node:child_process";
import { setTimeout as pause } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { probe } from "./probes/script.ts";
import { createScriptUsers, findScriptUser } from "./script-user.ts";
import { testContext } from "./testing.ts";

const isRoot = process.geteuid?.() === 0;
const NOBODY = { uid: Number(id("-u")), gid: Number(id("-g")) };

function id(flag: string): string {
  return execFileSync("id", [flag, "nobody"], { encoding: "utf8" }).trim();
}

/** Runs `sh -c` as the checker does whose own user is `own`, for a check that names `named`. */
async function run(script: string, own: string | undefined, named?: string, timeoutMs = 10_000) {
  const scriptUsers = createScriptUsers(own === undefined ? undefined : await findScriptUser(own));
  return probe(
    { CheckID: "c", Args: ["/bin/sh", "-c", script], TimeoutMs: timeoutMs, ...(named && { ScriptUser: named }) },
    testContext({ scriptUsers }),
  );
}

test.each(["", "-u", "a b", "a:b", "1:", ":1", "99999999999", "x\0"])("%j names nobody", async (text) => {
  await expect(findScriptUser(text)).rejects.toThrow(/^script_user .*: want a name, a uid or uid:gid$/);
});

describe.runIf(isRoot)("as root", () => {
  test.each([["nobody"], [`${NOBODY.uid}`], [`${NOBODY.uid}:${NOBODY.gid}`]])(
    "a script of %s runs as that user, with its group and no other",
    async (user) => {
      const { status, output } = await run('id -u; id -g; id -G; echo "$USER $LOGNAME"; env | grep ^HOME=', user);
      expect(output.split("\n")).toEqual([
        ...[`${NOBODY.uid}`, `${NOBODY.gid}`, `${NOBODY.gid}`],
        ...["nobody nobody", "HOME=/nonexistent", ""],
      ]);
      expect(status).toBe("passing");
    },
  );

  test("nothing of root's is left to it: no file, no capability, no way back", async () => {
    const { output } = await run(
      "head -c1 /etc/shadow 2>&1; kill -0 1 2>&1; grep -E '^(Uid|Gid|Groups|CapEff|CapPrm|CapInh|CapAmb)' /proc/self/status",
      "nobody",
    );
    const { uid, gid } = NOBODY;
    expect(output).toContain("Permission denied");
    expect(output).toMatch(/not permitted/i);
    expect(output).toContain(`Uid:\t${uid}\t${uid}\t${uid}\t${uid}\nGid:\t${gid}\t${gid}\t${gid}\t${gid}\nGroups:\t`);
    for (const set of ["CapInh", "CapPrm", "CapEff", "CapAmb"]) expect(output).toMatch(new RegExp(`${set}:\t0+\n`));
  });

  test("it can open its own output by name", async () => {
    expect(await run("echo a >/dev/stdout; echo b >/dev/stderr", "nobody")).toEqual({
      status: "passing",
      output: "a\nb\n",
    });
  });

  test("its group is ended whole on timeout, though it belongs to somebody else", async () => {
    const script =
      "trap '' TERM; sh -c 'trap \"\" TERM; while :; do sleep 1; done' & echo $$ $!; while :; do sleep 1; done";
    const { output, status } = await run(script, "nobody", undefined, 500);
    expect(status).toBe("critical");
    const [, first, second] = /\n(\d+) (\d+)\n/.exec(output) ?? [];
    for (const pid of [first, second].map(Number)) {
      expect(pid).toBeGreaterThan(1);
      while (isRunning(pid)) await pause(20);
    }
  });

  test("a check's own user counts, but not root where the checker has chosen somebody else", async () => {
    expect((await run("id -un", undefined, "nobody")).output).toBe("nobody\n");
    expect((await run("id -un", "nobody", "daemon")).output).toBe("daemon\n");
    expect((await run("id -un", undefined, "root")).output).toBe("root\n");
    expect(await run("id -un", "nobody", "root")).toEqual({
      status: "critical",
      output: "script_user 'root': refused, for the checker's own is 'nobody'",
    });
    expect((await run("id -un", "nobody", "65000:0")).output).toMatch(/refused/);
  });

  test("a user that there is not is told of, and a number needs its group", async () => {
    expect(await run("true", undefined, "no-such-user")).toEqual({
      status: "critical",
      output: "script_user 'no-such-user': this machine knows no such user",
    });
    await expect(findScriptUser("54321")).rejects.toThrow("want uid:gid");
    expect((await run('id -u; id -g; echo "$HOME"', "54321:54322")).output).toBe("54321\n54322\n/\n");
  });
});

test("who may not change to another user is told at once", async () => {
  // What a process may is asked for before anything is waited for, so nothing else runs as that user meanwhile.
  if (isRoot) process.seteuid?.(NOBODY.uid);
  const asked = findScriptUser("nobody");
  const own = process.geteuid?.();
  if (isRoot) process.seteuid?.(0);
  await expect(asked).rejects.toThrow(
    `script_user 'nobody': scripts cannot be run as another user: only root may, and this process runs as user ${own}`,
  );
});

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
