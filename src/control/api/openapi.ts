/** The OpenAPI 3.1 document, made of the routes and of the very schemas that check requests. */
import * as z from "zod";
import { siteSchema } from "../../config/site-schema.ts";
import type { Route } from "./route.ts";
import { problemDocument } from "./schemas.ts";

type Json = Record<string, unknown>;

/** The document as data. */
export function openApiDocument(routes: readonly Route[], version: string): Json {
  const components: Json = {};
  const schemaOf = (schema: z.ZodType, io: "input" | "output"): Json => {
    const {
      $schema: _,
      $defs,
      ...made
    } = z.toJSONSchema(schema, {
      io,
      unrepresentable: "any",
    }) as Json;
    for (const [name, below] of Object.entries(($defs as Json | undefined) ?? {}))
      components[name] ??= moved(below);
    return moved(made) as Json;
  };
  const paths: Record<string, Json> = {};
  for (const route of routes) {
    const operation = {
      operationId: operationId(route),
      summary: route.summary,
      tags: [route.group],
      security: route.access.length === 0 ? [] : [{ bearer: [] }],
      parameters: parametersOf(route, schemaOf),
      ...(route.raw
        ? { requestBody: { required: true, content: { "application/json": { schema: {} } } } }
        : {}),
      ...(route.body === null
        ? {}
        : {
            requestBody: {
              required: true,
              content: { "application/json": { schema: schemaOf(route.body, "input") } },
            },
          }),
      responses: {
        [route.status]: {
          description: "Done.",
          ...(route.answer === null || route.status === 204
            ? {}
            : { content: { "application/json": { schema: schemaOf(route.answer, "output") } } }),
        },
        default: {
          description: "An error.",
          content: { "application/problem+json": { schema: schemaOf(problemDocument, "output") } },
        },
      },
      "x-access": route.access,
    };
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operation };
  }
  // The config of a site is a schema of its own, the one that editors use.
  components.SiteConfig = schemaOf(siteSchema, "input");
  return {
    openapi: "3.1.0",
    info: { title: "Proxima control plane", version, license: { name: "MIT" } },
    paths,
    components: {
      schemas: components,
      securitySchemes: { bearer: { type: "http", scheme: "bearer" } },
    },
  };
}

function operationId({ method, path }: Route): string {
  const words = path
    .replace(/^\/v1\//, "")
    .split(/[/{}-]+/)
    .filter((word) => word !== "");
  return [method.toLowerCase(), ...words]
    .map((word, i) => (i === 0 ? word : word.charAt(0).toUpperCase() + word.slice(1)))
    .join("");
}

function parametersOf(route: Route, schemaOf: (schema: z.ZodType, io: "input") => Json): Json[] {
  const inPath = [...route.path.matchAll(/\{(\w+)\}/g)].map((match) => ({
    name: match[1],
    in: "path",
    required: true,
    schema: { type: "string" },
  }));
  const { properties = {}, required = [] } =
    route.query === null
      ? {}
      : (schemaOf(route.query, "input") as { properties?: Json; required?: string[] });
  const inQuery = Object.entries(properties).map(([name, schema]) => ({
    name,
    in: "query",
    required: required.includes(name),
    schema,
  }));
  const conditional = /If-Match/.test(route.summary)
    ? [{ name: "If-Match", in: "header", required: false, schema: { type: "string" } }]
    : [];
  const idempotent =
    route.method === "POST" && route.action !== null && !route.secret
      ? [
          {
            name: "Idempotency-Key",
            in: "header",
            required: false,
            schema: { type: "string", maxLength: 200 },
          },
        ]
      : [];
  return [...inPath, ...inQuery, ...conditional, ...idempotent];
}

/** The schema with references to the document's own components. */
function moved(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(moved);
  if (typeof schema !== "object" || schema === null) return schema;
  return Object.fromEntries(
    Object.entries(schema).map(([name, value]) => [
      name,
      name === "$ref" && typeof value === "string"
        ? value.replace(/^#\/\$defs\//, "#/components/schemas/")
        : moved(value),
    ]),
  );
}
