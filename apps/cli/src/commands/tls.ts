/** `heddle tls ca create` and `tls cert create`: the certificates by which the daemons know each other. */
import { chmodSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeDirectory } from "@heddle/daemon";
import { createInternalCa, createInternalCertificate, INTERNAL_ROLES, type InternalRole, write0600 } from "@heddle/tls";
import { attempt, command, CommandError } from "../command.ts";
import { fileProblem, readBytes } from "../data.ts";
import { flag } from "../flags.ts";
import type { Terminal } from "../terminal.ts";

const MAX_DAYS = 36_500;
const placeFlags = {
  dir: flag.text("Directory for the files; it is made where it does not exist.", "."),
  force: flag.boolean("Replace files that exist."),
  skipExisting: flag.boolean("Leave files that exist as they are, without an error: for scripts that run again."),
};

export const createCa = command({
  usage: "tls ca create [options]",
  about:
    "Makes a CA for the internal API: heddle-ca.pem for every daemon, and heddle-ca-key.pem, which only\n`heddle tls cert create` needs. Keep the key away from the daemons.\n\n    $ heddle tls ca create",
  flags: {
    days: flag.integer("How long it is valid.", 1, MAX_DAYS, 1825),
    trustDomain: flag.text(
      "Trust domain of its identities; a random one by default, so that no other cluster's certificates fit.",
    ),
    ...placeFlags,
  },
  async run({ flags, terminal }) {
    const { certPem, keyPem } = await createInternalCa({
      days: flags.days,
      ...(flags.trustDomain && { trustDomain: flags.trustDomain }),
    });
    save({ name: "heddle-ca", certPem, keyPem }, flags, terminal);
  },
});

export const createCertificates = command({
  usage: "tls cert create [options]",
  about: `Makes a key and a certificate for each -role, signed by the CA of \`heddle tls ca create\`. A role says what a daemon
may do on the internal API; give each machine only those that run there.

    $ heddle tls cert create -server -additional-dnsname c.example.com
    $ heddle tls cert create -role catalog -additional-dnsname c.example.com
    $ heddle tls cert create -role agent -node web-1

The files are <dc>-<role>.pem and <dc>-<role>-key.pem, with -node <dc>-<role>-<node>.pem and -key.pem.`,
  flags: {
    additionalDnsname: flag.list("Further DNS name, beside <role>.<dc>.consul and localhost."),
    additionalIpaddress: flag.list("Further IP address, beside 127.0.0.1 and ::1."),
    ca: flag.text("Certificate of the CA; heddle-ca.pem in -dir by default."),
    cli: flag.boolean("The same as -role operator."),
    client: flag.boolean("The same as -role agent."),
    days: flag.integer("How long they are valid.", 1, MAX_DAYS, 365),
    dc: flag.text("Datacenter.", "dc1"),
    key: flag.text("Key of the CA; heddle-ca-key.pem in -dir by default."),
    node: flag.text(
      "Name of the node they are for: an agent may speak for that node alone; a DNS name, and part of the files' names.",
    ),
    role: flag.list(`One of ${INTERNAL_ROLES.join(", ")}.`),
    server: flag.boolean("The same as -role server: for `heddle agent -server`, where all daemons are one process."),
    ...placeFlags,
  },
  async run({ flags, terminal }) {
    const { dir, dc, node, days, server, client, cli } = flags;
    const roles = new Set([
      ...flags.role.flatMap((text) => text.split(",")),
      ...(server ? ["server"] : []),
      ...(client ? ["agent"] : []),
      ...(cli ? ["operator"] : []),
    ]);
    if (roles.size === 0)
      throw new CommandError(
        `Please provide -role with one of ${INTERNAL_ROLES.join(", ")} (or -server, -client or -cli)`,
      );
    if (node !== "" && !/^[A-Za-z0-9_.-]+$/.test(node))
      throw new CommandError(`invalid -node '${node}': want letters, digits, '.', '-', '_'`);
    const caFile = flags.ca || join(dir, "heddle-ca.pem");
    const keyFile = flags.key || join(dir, "heddle-ca-key.pem");
    const ca = {
      certPem: readBytes(caFile, "Error reading CA").toString("utf8"),
      keyPem: readBytes(keyFile, "Error reading CA key").toString("utf8"),
    };
    terminal.out(`==> Using ${caFile} and ${keyFile}\n`);
    const dnsNames = [...flags.additionalDnsname, ...(node ? [node] : [])];
    for (const role of roles) {
      const made = (async () =>
        createInternalCertificate({
          ca,
          role: role as InternalRole,
          dc,
          ...(role === "agent" && node !== "" && { node }),
          dnsNames,
          ips: flags.additionalIpaddress,
          days,
        }))();
      const certificate = await attempt(`Error making the certificate of role '${role}'`, made);
      save({ name: `${dc}-${role}${node && `-${node}`}`, ...certificate }, flags, terminal);
    }
  },
});

interface Pair {
  name: string;
  certPem: string;
  keyPem: string;
}

/** The key goes first: a certificate without its key would look complete. */
function save(
  { name, certPem, keyPem }: Pair,
  { dir, force, skipExisting }: { dir: string; force: boolean; skipExisting: boolean },
  terminal: Terminal,
): void {
  const files = { certificate: join(dir, `${name}.pem`), key: join(dir, `${name}-key.pem`) };
  const existing = Object.values(files).filter((file) => existsSync(file));
  if (existing.length === 2 && skipExisting) return terminal.out(`==> Kept ${files.certificate} and ${files.key}\n`);
  if (existing.length > 0 && !force)
    throw new CommandError(`${existing.join(" and ")} already exists. Use -force to replace it.`);
  try {
    makeDirectory(dir, 0o777);
    write0600(files.key, keyPem);
    writeFileSync(files.certificate, certPem);
    chmodSync(files.certificate, 0o644);
  } catch (cause) {
    throw new CommandError(`cannot write to '${dir}': ${fileProblem(cause)}`, 1, { cause });
  }
  terminal.out(`==> Saved ${files.certificate}\n==> Saved ${files.key}\n`);
}
