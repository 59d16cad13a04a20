/** When a vendor's API answers: after the nodes that can be reached, within a limit, or at once where it says so. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { amzDate, authorization, EMPTY_PAYLOAD_HASH, signingKey } from "../../../../src/http/sigv4/sign.ts";
import { type ControlAnswer, siteConfig, startTestControl, type TestControl } from "../../../kit/control.ts";
import { ReportingNode } from "../../../kit/reporting-node.ts";

let control: TestControl;
let node: ReportingNode;
beforeEach(async () => {
  control = await startTestControl();
  await control.ask("POST", "/v1/apply", { sites: { shop: siteConfig("shop.test") } });
  node = await ReportingNode.join(control, "n1");
});
afterEach(() => control.stop());

/** A call that is under way: whether it has been answered, once its purge is in the log. */
async function underWay(path: string, headers: Readonly<Record<string, string>>, raw = "") {
  const call = { answered: false, answer: Promise.resolve({} as ControlAnswer) };
  call.answer = control.ask("POST", path, undefined, { token: null, headers, raw }).then((answer) => {
    call.answered = true;
    return answer;
  });
  while (!call.answered && (await control.ask("GET", "/v1/purges?limit=1")).value.items.length === 0);
  // Time for an answer that waits for nothing.
  for (let i = 0; i < 5; i++) await control.ask("GET", "/healthz");
  return call;
}

const cloudflare = () =>
  underWay(
    "/client/v4/zones/shop/purge_cache",
    { authorization: `Bearer ${control.admin}` },
    '{"tags":["a"]}',
  );
const fastly = () => underWay("/service/shop/purge/a", { "fastly-key": control.admin });

test("Cloudflare's when every node that can be reached has applied it", async () => {
  const call = await cloudflare();
  expect(call.answered).toBe(false);
  await node.report();
  expect((await call.answer).status).toBe(200);
});

test("at once where no node can be reached", async () => {
  control.clock.advance(60_000);
  expect((await (await cloudflare()).answer).status).toBe(200);
});

test("after three seconds where a node is silent: the order is safe", async () => {
  const call = await cloudflare();
  control.clock.advance(2_000);
  for (let i = 0; i < 5; i++) await control.ask("GET", "/healthz");
  expect(call.answered).toBe(false);
  // In steps, as the wait looks again each second.
  while (!call.answered) {
    control.clock.advance(500);
    await control.ask("GET", "/healthz");
  }
  const { value } = await call.answer;
  expect(value.success).toBe(true);
  expect((await control.ask("GET", `/v1/purges/${value.result.id}`)).value.state).toBe("accepted");
});

test("Fastly's when they have counted, too; without the number where they have not", async () => {
  const call = await fastly();
  await node.report();
  for (let i = 0; i < 5; i++) await control.ask("GET", "/healthz");
  expect(call.answered).toBe(false);
  while (!call.answered) {
    control.clock.advance(500);
    await control.ask("GET", "/healthz");
  }
  const { status, headers } = await call.answer;
  expect([status, headers.get("proxima-purged-objects"), headers.get("warning")]).toEqual([200, null, null]);
});

test("Bunny's at once where it is asked to", async () => {
  const call = await underWay("/pullzone/shop/purgeCache", { accesskey: control.admin }, '{"async":true}');
  expect((await call.answer).status).toBe(204);
});

test("CloudFront's at once, and an invalidation is completed when the nodes have applied it", async () => {
  const made = await control.ask("POST", "/v1/tokens", { name: "k", scopes: ["purge"], accessKey: true });
  const { accessKeyId } = made.value.token;
  const ask = (method: string, path: string, body: string) => {
    const date = amzDate(control.clock.now());
    const scope = { region: "us-east-1", service: "cloudfront" };
    const payloadHash =
      body === "" ? EMPTY_PAYLOAD_HASH : new Bun.CryptoHasher("sha256").update(body).digest("hex");
    const fields: [string, string][] = [
      ["host", new URL(control.url).host],
      ["x-amz-content-sha256", payloadHash],
      ["x-amz-date", date],
    ];
    const request = { method, path, query: "", fields, payloadHash };
    const signing = signingKey(made.value.secretAccessKey, date, scope);
    return control.ask(method, path, undefined, {
      token: null,
      headers: {
        ...Object.fromEntries(fields.slice(1)),
        authorization: authorization(request, accessKeyId, signing, date, scope),
      },
      ...(body === "" ? {} : { raw: body }),
    });
  };
  const path = "/2020-05-31/distribution/shop/invalidation";
  const batch =
    "<InvalidationBatch><Paths><Quantity>1</Quantity><Items><Path>/a</Path></Items></Paths><CallerReference>1</CallerReference></InvalidationBatch>";
  const statusOf = ({ text }: ControlAnswer) => /<Status>(\w+)</.exec(text)?.[1];
  const created = await ask("POST", path, batch);
  expect(statusOf(created)).toBe("InProgress");
  const id = /<Id>(\w+)</.exec(created.text)?.[1] ?? "";
  expect(statusOf(await ask("GET", `${path}/${id}`, ""))).toBe("InProgress");
  await node.report();
  expect(statusOf(await ask("GET", `${path}/${id}`, ""))).toBe("Completed");
});
