// @ts-nocheck: the vendors' own clients, as their users have them, are asked by name
/**
 * The real clients of other CDNs in a Node process of their own, as an application has them. Reads calls as
 * JSON lines and writes what came of each: `{"id", "value"}` or `{"id", "error": {name, status, message, ...}}`.
 */
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(import.meta.url);

const clients = {
  async cloudflare({ options, method, args }) {
    const { default: Cloudflare } = await import("cloudflare");
    const client = new Cloudflare({ maxRetries: 0, ...options });
    const steps = method.split(".");
    const last = steps.pop();
    const target = steps.reduce((at, step) => at[step], client);
    const value = await target[last](...args);
    return value?.result !== undefined ? { result: value.result, info: value.result_info } : value;
  },
  async fastly({ token, method, args }) {
    const Fastly = require("fastly");
    Fastly.ApiClient.instance.authenticate(token);
    const { response, data } = await new Fastly.PurgeApi()[`${method}WithHttpInfo`](args);
    return { status: response.status, headers: response.headers, data };
  },
  async cloudfront({ options, command, input, waiter }) {
    const sdk = await import("@aws-sdk/client-cloudfront");
    const client = new sdk.CloudFrontClient({ region: "us-east-1", maxAttempts: 1, ...options });
    try {
      if (waiter !== undefined) return await sdk[waiter]({ client, maxWaitTime: 40 }, input);
      return await client.send(new sdk[command](input));
    } finally {
      client.destroy();
    }
  },
  async aws2({ options, method, input }) {
    process.env.AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE = "1";
    const AWS = require("aws-sdk");
    return await new AWS.CloudFront({ region: "us-east-1", maxRetries: 0, ...options })
      [method](input)
      .promise();
  },
  async bunnyFiles({ zone, key, method, args }) {
    const { file, zone: zones, regions } = await import("@bunny.net/storage-sdk");
    const place = zones.connect_with_accesskey(regions.StorageRegion.Falkenstein, zone, key);
    if (method === "upload") {
      const [path, content, options] = args;
      return await file.upload(place, path, new Blob([content]).stream(), options);
    }
    const value = await file[method](place, ...args);
    return method === "download" ? await new Response(value.stream).text() : value;
  },
  async bunnyFilesOld({ zone, key, method, args }) {
    const { default: Storage } = require("bunnycdn-storage");
    const given = method === "upload" ? [Buffer.from(args[0]), args[1]] : args;
    const { status, data } = await new Storage(key, zone)[method](...given);
    return { status, data };
  },
  async akamai({ client, path, body }) {
    const EdgeGrid = require("akamai-edgegrid");
    const { clientToken, clientSecret, accessToken, host } = client;
    const grid = new EdgeGrid(clientToken, clientSecret, accessToken, host);
    grid.auth({ path, method: "POST", headers: { "Content-Type": "application/json" }, body });
    return await new Promise((resolve, reject) =>
      grid.send((error, response, text) =>
        error ? reject(error) : resolve({ status: response.status, data: JSON.parse(text) }),
      ),
    );
  },
  async bunnyStorageRound({ zone, key, text }) {
    const { file, regions, zone: zones } = await import("@bunny.net/storage-sdk");
    const at = zones.connect_with_accesskey(regions.StorageRegion.NewYork, zone, key);
    const body = new Response(text).body;
    await file.upload(at, "/js/app.js", body, { contentType: "application/javascript" });
    const shown = await file.get(at, "/js/app.js");
    const read = await new Response((await file.download(at, "/js/app.js")).stream).text();
    const listed = (await file.list(at, "/js/")).map(({ objectName }) => objectName);
    return { shown, read, listed, removed: await file.remove(at, "/js/app.js") };
  },
  async bunnycdnStorage({ zone, key, text }) {
    const { default: Storage } = require("bunnycdn-storage");
    const storage = new Storage(key, zone);
    const { status } = await storage.upload(Buffer.from(text), "a/b.txt");
    const { data } = await storage.download("a/b.txt");
    return {
      status,
      data: String(data),
      listed: (await storage.list("a/")).data.map(({ ObjectName }) => ObjectName),
    };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, client, ...call } = JSON.parse(line);
  let answer;
  try {
    answer = { id, value: (await clients[client](call.call)) ?? null };
  } catch (error) {
    answer = {
      id,
      error: {
        name: error.name,
        code: error.code,
        status: error.status ?? error.statusCode ?? error.$metadata?.httpStatusCode ?? error.response?.status,
        message: String(error.message ?? error),
        errors: error.errors,
        body: error.response?.body ?? error.response?.data,
        retryAfter: error.headers?.get?.("retry-after") ?? error.response?.headers?.["retry-after"],
      },
    };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
