/** Step 1 of the walk: the service of the article, without a mesh. */
import { expect, test } from "vitest";
import { netcat, startSocat } from "../support/mesh.ts";
import { claimPorts } from "../support/ports.ts";
import { needs } from "../support/tools.ts";

test("socat echoes what nc sends, and shows it", async (ctx) => {
  needs(ctx, "socat", "nc");
  const { port } = await claimPorts(["echo"]);
  const socat = startSocat(port.echo);
  const line = "hello, this is greetings from liumiao";
  await expect.poll(() => netcat(port.echo, line)).toBe(`${line}\n`);
  await socat.printed(/> .* length=38 from=0 to=37\nhello, this is greetings from liumiao/);
  await socat.printed(/< .* length=38 from=0 to=37\nhello, this is greetings from liumiao/);
});
