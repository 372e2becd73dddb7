/** Why an agent is given no lease: another one has what it says it is. */
import type { MemberFacts } from "../commands/members.ts";

/** Another agent has the name; it is not given away while that one lives. */
export class NameTakenError extends Error {
  constructor(node: string, holder: MemberFacts) {
    super(
      `the node name '${node}' is taken by an agent at ${holder.Address} (node id ${holder.ID || "none"}): give one of the two another -node name`,
    );
  }
}

/** Two agents with one node id: a copied data directory, or somebody who would take the other's place. */
export class IdTakenError extends Error {
  constructor({ ID, Node }: MemberFacts, holder: MemberFacts) {
    super(
      `the node id ${ID} of '${Node}' is that of '${holder.Node}' at ${holder.Address}, which is alive: remove the file node-id from the data directory of one of the two`,
    );
  }
}
