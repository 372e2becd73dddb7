/** The page at /ui/ in a browser: live lists, and names that stay names (SECURITY.md, API-12). */
import { chromium } from "playwright-core";
import { expect, onTestFinished, test } from "vitest";
import { makePlace, startAgent } from "../support/mesh.ts";
import { needs } from "../support/tools.ts";

const HOSTILE = `<img src=x onerror="document.title='run'"><script>document.title='run'</script>`;
const NAMED = `<img src=x onerror="document.title='run'">`; // no slash: what stands before one is a namespace

test("a service appears without a reload, and what is registered is shown as text", {
  timeout: 60_000,
}, async (ctx) => {
  needs(ctx, "chromium");
  const place = await makePlace();
  await startAgent(place);
  const url = `http://127.0.0.1:${place.ports.http}`;
  const put = async (path: string, body: unknown) => {
    const answer = await fetch(url + path, { method: "PUT", body: JSON.stringify(body) });
    expect(answer.status).toBe(200);
  };
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  onTestFinished(() => browser.close());
  const page = await browser.newPage();
  const problems: string[] = [];
  const streams: string[] = [];
  page.on("websocket", (socket) => streams.push(socket.url()));
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));

  await page.goto(`${url}/ui/`);
  await page.getByRole("link", { name: "consul", exact: true }).waitFor();
  await put("/v1/catalog/register", {
    Node: "n-1",
    Address: "10.0.0.7",
    Service: { Service: "shop", Port: 81, Tags: [HOSTILE] },
    Check: { Name: HOSTILE, Status: "warning", Output: HOSTILE, ServiceID: "shop" },
  });
  await page.getByRole("link", { name: "shop", exact: true }).click();
  await page.getByText("10.0.0.7:81").waitFor();
  expect(await page.locator("#rows").textContent()).toContain(HOSTILE);
  expect(await page.locator("#rows td.warning").count()).toBe(1);

  await put(`/v1/kv/${encodeURIComponent(HOSTILE).replaceAll("%2F", "/")}`, HOSTILE);
  await page.getByRole("link", { name: "Keys" }).click();
  await page.getByRole("link", { name: HOSTILE }).waitFor();
  await page.getByRole("link", { name: "Intentions" }).click();
  await page.getByText("There are none.").waitFor();
  await fetch(`${url}/v1/connect/intentions`, {
    method: "POST",
    body: JSON.stringify({ SourceName: "web", DestinationName: "shop", Action: "deny" }),
  });
  await page.locator("#rows td.deny").waitFor();

  expect(await page.locator("main img, main script").count()).toBe(0);
  expect(await page.title()).toBe("Intentions – Heddle");
  expect(problems).toEqual([]);
  expect(streams).toContain(`ws://127.0.0.1:${place.ports.http}/v1/stream`);
  // A page of another origin gets no stream: a browser would let it.
  await page.goto("data:text/html,<title>elsewhere</title>");
  const foreign = await page.evaluate(
    (target) =>
      new Promise<string>((resolve) => {
        const socket = new WebSocket(target);
        socket.onopen = () => resolve("open");
        socket.onerror = () => resolve("refused");
      }),
    `ws://127.0.0.1:${place.ports.http}/v1/stream`,
  );
  expect(foreign).toBe("refused");
});

test("a decision is explained in the page, by keyboard, and a change of the rules shows at once", {
  timeout: 60_000,
}, async (ctx) => {
  needs(ctx, "chromium");
  const place = await makePlace();
  await startAgent(place);
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  onTestFinished(() => browser.close());
  const page = await browser.newPage();
  const problems: string[] = [];
  const asked: string[] = [];
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  const decision = page.locator("#decision");
  const steps = page.locator("#steps tr");

  await page.goto(`http://127.0.0.1:${place.ports.http}/ui/#intentions`);
  await page.getByText("There are none.").waitFor();
  await page.getByLabel("Source").focus();
  await page.keyboard.type(NAMED);
  await page.keyboard.press("Tab");
  await page.keyboard.type("socat");
  await page.keyboard.press("Enter");
  await page.getByText(`${NAMED} → socat: allowed`).waitFor();
  expect(await page.getByRole("status").allTextContents()).toContain(`${NAMED} → socat: allowed`);
  expect(await page.locator("#default").textContent()).toBe("allowed (ACLs disabled, access is allowed by default)");

  await place.ok("intention", "create", "-deny", "*", "socat");
  await page.getByText(`${NAMED} → socat: denied`).waitFor();
  await place.ok("intention", "create", "-allow", NAMED, "socat");
  await page.getByText(`${NAMED} → socat: allowed`).waitFor();
  expect(await steps.allTextContents()).toEqual([
    `${NAMED} → socatallow9decidesthe most exact rule that matches`,
    "* → socatdeny8shadowedless exact than the rule that decides: precedence 8 and not 9, for its source is any service",
  ]);
  const explained = await place.ok("intention", "explain", NAMED, "socat");
  expect(explained).toContain(await page.locator("#reason").textContent());
  expect(await page.locator("main img, main script").count()).toBe(0);

  // The address alone leads to the same answer, and the list of rules is all that is asked for.
  await page.reload();
  await page.getByText(`${NAMED} → socat: allowed`).waitFor();
  await page.getByLabel("Source").fill("WEB");
  await page.getByRole("button", { name: "Explain" }).click();
  await decision.getByText("WEB → socat: denied").waitFor();
  await page.getByRole("link", { name: "Nodes" }).click();
  await decision.waitFor({ state: "hidden" });
  expect(asked.filter((path) => path.startsWith("/v1/connect/"))).toEqual(Array(2).fill("/v1/connect/intentions"));
  expect(problems).toEqual([]);
});

test("the page is off where the configuration says so, and stands where it says", async () => {
  const place = await makePlace();
  place.write("ui.hcl", `ui_config { enabled = true, content_path = "look" }`);
  await startAgent(place);
  const url = `http://127.0.0.1:${place.ports.http}`;
  const page = await fetch(`${url}/look/`);
  expect([page.status, page.headers.get("content-type")]).toEqual([200, "text/html; charset=utf-8"]);
  expect(page.headers.get("content-security-policy")).toContain("default-src 'none'");
  const again = await fetch(`${url}/look/`, { headers: { "If-None-Match": page.headers.get("etag") as string } });
  expect(again.status).toBe(304);
  expect((await fetch(`${url}/look/ui.js`)).headers.get("content-type")).toBe("text/javascript; charset=utf-8");
  const root = await fetch(`${url}/`, { redirect: "manual" });
  expect([root.status, root.headers.get("location")]).toEqual([301, "/look/"]);
  expect((await fetch(`${url}/ui/`)).status).toBe(404);
});
