/** `heddle dns …`: Heddle's own, about the DNS of the agent that is asked. */
import { attempt, command, CommandError } from "../command.ts";
import { flag } from "../flags.ts";
import { columns, printJson } from "../output.ts";

interface Instance {
  Node: string;
  ServiceID: string;
  Address: string;
  Port: number;
  Reason?: string;
}

interface Explanation {
  Name: string;
  Type: string;
  Asks: string;
  Status: string;
  Records: number;
  Answered: Instance[];
  LeftOut: Instance[];
  Notes: string[];
  Stale: boolean;
}

export const explain = command({
  usage: "dns explain [options] NAME [TYPE]",
  about:
    "Tells what the agent's DNS answers to a name, with which instances, and what left the others out. TYPE is A where it is not given.\n\n    $ heddle dns explain v1.web.service.consul SRV",
  api: "agent",
  flags: { format: flag.format() },
  async run({ api, args, flags, terminal }) {
    const [name, type = "A"] = args;
    if (name === undefined || args.length > 2)
      throw new CommandError("Error: command requires a name and at most a type\nSee 'heddle dns explain --help'.");
    const asked = api.get<Explanation>("/v1/internal/dns/explain", { query: { name, type } });
    const { body, raw } = await attempt("Error explaining the answer", asked);
    if (flags.format === "json") return printJson(terminal, raw);
    const { Status, Records, Stale } = body;
    const facts = [
      ["Name", body.Name],
      ["Asks", body.Asks],
      ["Answer", Status === "" ? "none here" : `${Status}, ${Records} ${body.Type} record(s) over TCP`],
      ...(Stale ? [["Stale", "no catalog is connected: this is from memory"]] : []),
      ...body.Notes.map((note) => ["Note", note]),
    ];
    terminal.out(columns(facts));
    const cells = (i: Instance) => [i.Node, i.ServiceID, i.Address || "-", i.Port === 0 ? "-" : String(i.Port)];
    const rows = [
      ...body.Answered.map((i) => [...cells(i), "in the answer"]),
      ...body.LeftOut.map((i) => [...cells(i), `left out: ${i.Reason ?? ""}`]),
    ];
    if (rows.length > 0) terminal.out(`\n${columns([["Node", "Instance", "Address", "Port", ""], ...rows])}`);
  },
});
