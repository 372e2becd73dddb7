/** `heddle connect ca rotate|abort|rollback`. */
import { attempt, command } from "../command.ts";
import { flag } from "../flags.ts";

const CA = "/v1/connect/ca";
const ROTATION_TIMEOUT_MS = 60_000; // a key is made, chains are rehearsed, and Vault may be asked

export const rotate = command({
  usage: "connect ca rotate [options]",
  about: `Replaces the root by another of its type of key, without a refused connection, before its time; with -intermediate the one that
signs for it. Both are replaced in time by themselves. Another type of key, or a root of your own, comes with set-config.

    $ heddle connect ca rotate
    $ heddle connect ca status`,
  api: "datacenter",
  flags: { intermediate: flag.boolean("Replace the intermediate, and leave the root.") },
  async run({ api, flags, terminal }) {
    const answer = api.put<{ ActiveRootID: string; IntermediateID: string | null }>(`${CA}/rotate`, {
      body: { Intermediate: flags.intermediate },
      timeoutMs: ROTATION_TIMEOUT_MS,
    });
    const { body } = await attempt("Error replacing what signs", answer);
    terminal.out(
      flags.intermediate ? `Intermediate ${body.IntermediateID} signs.\n` : `Root ${body.ActiveRootID} signs.\n`,
    );
  },
});

export const abort = command({
  usage: "connect ca abort [options]",
  about:
    "Stops the rotation of the root that is under way. While it is being prepared nothing has changed, and nothing will. Once it\nis switched the root before signs again, as by 'connect ca rollback'; connections stay open.\n\n    $ heddle connect ca abort",
  api: "datacenter",
  async run({ api, terminal }) {
    const answer = api.put<{ Aborted: "preparing" | "switched"; ActiveRootID: string }>(`${CA}/abort`, {
      timeoutMs: ROTATION_TIMEOUT_MS,
    });
    const { body } = await attempt("Error aborting the rotation", answer);
    terminal.out(
      body.Aborted === "preparing"
        ? `The rotation was stopped while it was being prepared: root ${body.ActiveRootID} signs as before.\n`
        : `The rotation was taken back: root ${body.ActiveRootID} signs again.\n`,
    );
  },
});

export const rollback = command({
  usage: "connect ca rollback [options]",
  about:
    "Has the root that was replaced last sign again, with the configuration of its time. All leaves are signed anew by it, and\nthe root that is given up is trusted until nothing needs it.\n\n    $ heddle connect ca rollback",
  api: "datacenter",
  async run({ api, terminal }) {
    const answer = api.put<{ ActiveRootID: string }>(`${CA}/rollback`, { timeoutMs: ROTATION_TIMEOUT_MS });
    const { body } = await attempt("Error rolling the CA's root back", answer);
    terminal.out(`Root ${body.ActiveRootID} signs again.\n`);
  },
});
