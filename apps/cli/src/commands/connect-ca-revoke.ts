/** `heddle connect ca revoke|revoked|reinstate`. */
import { attempt, command, CommandError } from "../command.ts";
import { readBytes } from "../data.ts";
import { flag } from "../flags.ts";
import { columns, printJson } from "../output.ts";

const CA = "/v1/connect/ca";

interface RevokedSerial {
  SerialNumber: string;
  Service: string;
  Reason: string;
  RevokedAt: string;
  ExpiresAt: string;
}

interface RevokedService {
  Service: string;
  Reason: string;
  RevokedAt: string;
  Reinstated: boolean;
  ExpiresAt: string | null;
}

interface RevokedNode {
  Node: string;
  RevokedAt: string;
  ExpiresAt: string;
}

interface Revocations {
  Serials: RevokedSerial[];
  Services: RevokedService[];
  /** Missing where the CA is of an older version. */
  Nodes?: RevokedNode[];
}

export const revoke = command({
  usage: "connect ca revoke [options]",
  about: `Has one certificate, or every certificate of a service, refused by every proxy from now on: connections that use it are
cut. A service whose one certificate is revoked gets another at once; one that is revoked itself gets none until it is
reinstated.

    $ heddle connect ca revoke -serial=7a:01:… -reason="lost laptop"
    $ heddle connect ca revoke -service=web`,
  api: "datacenter",
  flags: {
    cert: flag.text("File with the certificate to revoke, as PEM; - is standard input."),
    reason: flag.text("Why: it is told to whoever is refused."),
    serial: flag.text("Serial number of the certificate to revoke, in hexadecimal."),
    service: flag.text("Service whose certificates are all revoked."),
  },
  async run({ api, flags, terminal }) {
    const { cert, reason, serial, service } = flags;
    if ([cert, serial, service].filter((target) => target !== "").length !== 1)
      throw new CommandError("Exactly one of -serial, -service and -cert must be specified");
    const certificate =
      cert === "-" ? await terminal.readStdin() : cert && readBytes(cert, "Error reading certificate");
    const body = {
      ...(serial && { SerialNumber: serial }),
      ...(service && { Service: service }),
      ...(certificate && { Certificate: certificate.toString("utf8") }),
      ...(reason && { Reason: reason }),
    };
    const answer = api.put<RevokedSerial | RevokedService>(`${CA}/revoke`, { body });
    const { body: entry } = await attempt("Error revoking", answer);
    if (!("SerialNumber" in entry)) return terminal.out(`Revoked: every certificate of service ${entry.Service}\n`);
    const of = entry.Service === "" ? "" : ` of service ${entry.Service}`;
    terminal.out(`Revoked: certificate ${entry.SerialNumber}${of}\n`);
  },
});

export const reinstate = command({
  usage: "connect ca reinstate [options]",
  about: `Lets a revoked service in again: it gets new certificates. Those from before stay refused.

    $ heddle connect ca reinstate -service=web`,
  api: "datacenter",
  flags: { service: flag.text("The service.") },
  async run({ api, flags, terminal }) {
    if (flags.service === "") throw new CommandError("The -service flag is required");
    await attempt("Error reinstating", api.put(`${CA}/reinstate`, { body: { Service: flags.service } }));
    terminal.out(`Reinstated: service ${flags.service}\n`);
  },
});

export const revoked = command({
  usage: "connect ca revoked [options]",
  about: "Lists the certificates, services and nodes that are revoked.\n\n    $ heddle connect ca revoked",
  api: "datacenter",
  flags: { format: flag.format() },
  async run({ api, flags, terminal }) {
    const answer = api.get<Revocations>(`${CA}/revocations`);
    const { body, raw } = await attempt("Error querying what is revoked", answer);
    if (flags.format === "json") return printJson(terminal, raw);
    const services = body.Services.map((entry) => [
      entry.Service,
      entry.Reinstated ? "all from before" : "all",
      entry.RevokedAt,
      entry.ExpiresAt ?? "-",
      entry.Reason,
    ]);
    const serials = body.Serials.map((entry) => [
      entry.Service || "-",
      entry.SerialNumber,
      entry.RevokedAt,
      entry.ExpiresAt,
      entry.Reason,
    ]);
    const nodes = (body.Nodes ?? []).map(({ Node, RevokedAt, ExpiresAt }) => [
      ...["-", `all of node ${Node}`, RevokedAt, ExpiresAt, ""],
    ]);
    const rows = [...services, ...serials, ...nodes];
    if (rows.length > 0)
      terminal.out(columns([["Service", "Certificates", "Revoked at", "Forgotten at", "Reason"], ...rows]));
  },
});
