import { defineConfig } from "proxima-cdn";

/** A shop: pages and an API from an application, static files from a folder, and a place for what is private. */
export default defineConfig({
  listen: { http: "127.0.0.1:8080", https: "127.0.0.1:8443", control: "127.0.0.1:8081" },
  cache: { memory: "512MiB" },
  sites: {
    shop: {
      hosts: ["shop.example", "*.shop.example", "localhost", "127.0.0.1"],
      origins: {
        app: { url: "http://127.0.0.1:3000", hostHeader: "viewer", timeouts: { firstByteMs: 10_000 } },
        files: { directory: "./public" },
      },
      redirects: [{ host: "www.shop.example", to: "https://shop.example$path$query" }],
      errorPages: { "404": { path: "/static/not-found.html" } },
      behaviors: [
        {
          path: "/static/*",
          origin: "files",
          cacheKey: { query: "none" },
          ttlSeconds: { default: 86_400, jitterFraction: 0.1 },
        },
        { path: "/account/*", origin: "app", cache: false },
        {
          path: "/api/*",
          origin: "app",
          cacheKey: { query: { include: ["page", "q"] }, headers: ["accept-language"] },
          staleIfErrorSeconds: 3_600,
        },
        {
          path: "/*",
          origin: "app",
          cacheKey: { stripTracking: true },
          statusTtlSeconds: { "404": 10 },
          responseHeaders: { remove: ["x-powered-by"], set: { "x-content-type-options": "nosniff" } },
        },
      ],
    },
  },
});
