/** The types of `proxima-cdn/client`, made from the OpenAPI document, and so from the schemas that check requests. */
import { openApiDocument } from "../src/control/api/openapi.ts";
import { routes } from "../src/control/api/routes.ts";

type Json = Readonly<Record<string, unknown>>;

const REF = "#/components/schemas/";
/** Schemas that stand elsewhere as types. */
const ELSEWHERE: Readonly<Record<string, string>> = { SiteConfig: 'import("../config/types.ts").SiteInput' };

/** The text of src/client/api.d.ts. */
export function clientTypes(): string {
  const document = openApiDocument(routes, "") as {
    readonly paths: Readonly<Record<string, Readonly<Record<string, Json>>>>;
    readonly components: { readonly schemas: Readonly<Record<string, Json>> };
  };
  const used = new Set<string>();
  const members: string[] = [];
  for (const [path, methods] of Object.entries(document.paths))
    for (const [method, operation] of Object.entries(methods)) {
      const name = `${method.toUpperCase()} ${path}`;
      if (!path.startsWith("/v1/") || isForNodes(operation)) continue;
      members.push(
        `  /** ${String(operation.summary).replaceAll("*/", "*\\/")} */\n  ${JSON.stringify(name)}: {\n${operationText(operation, used)}  };`,
      );
    }
  const types: string[] = [];
  // What is used may use more.
  for (const name of used) {
    const schema = document.components.schemas[name] ?? {};
    types.push(
      `${comment(schema, "")}export type ${name} = ${ELSEWHERE[name] ?? typeOf(schema, used, "")};\n`,
    );
  }
  return `/**
 * The API of the control plane as types. Made from src/control/api by \`npm run generate\`: change it there.
 */

/** Every route, by method and path. */
export interface Routes {
${members.join("\n")}
}

${types.sort().join("\n")}`;
}

function isForNodes(operation: Json): boolean {
  const access = operation["x-access"] as readonly string[];
  return access.length > 0 && access.every((one) => one === "node");
}

function operationText(operation: Json, used: Set<string>): string {
  const parameters = (operation.parameters as readonly Json[]) ?? [];
  const among = (place: string): string => {
    const found = parameters.filter((one) => one.in === place);
    if (found.length === 0) return "{}";
    const rows = found.map(
      (one) =>
        `${JSON.stringify(one.name)}${one.required === true ? "" : "?"}: ${place === "path" ? "string | number" : queryType(one.schema as Json, used)}${one.required === true ? "" : " | undefined"}`,
    );
    return `{ ${rows.join("; ")} }`;
  };
  const body = schemaIn(operation.requestBody);
  const responses = operation.responses as Readonly<Record<string, unknown>>;
  const [status] = Object.keys(responses).filter((one) => one !== "default");
  const answer = schemaIn(responses[status ?? ""]);
  return [
    `    params: ${among("path")};`,
    `    query: ${among("query")};`,
    `    body: ${body === null ? "undefined" : typeOf(body, used, "    ")};`,
    `    answer: ${answer === null ? (status === "204" ? "undefined" : "unknown") : typeOf(answer, used, "    ")};`,
    "",
  ].join("\n");
}

/** Numbers travel as text in a query; a person writes numbers. */
function queryType(schema: Json, used: Set<string>): string {
  const type = typeOf(schema, used, "    ");
  return type === "string" ? "string | number" : type;
}

function schemaIn(message: unknown): Json | null {
  const content = (message as { content?: Readonly<Record<string, { schema: Json }>> } | undefined)?.content;
  return content?.["application/json"]?.schema ?? null;
}

function typeOf(schema: Json, used: Set<string>, indent: string): string {
  if (typeof schema.$ref === "string" && schema.$ref.startsWith(REF)) {
    const name = schema.$ref.slice(REF.length);
    used.add(name);
    return name;
  }
  if ("const" in schema) return JSON.stringify(schema.const);
  if (Array.isArray(schema.enum)) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  const choices = schema.anyOf ?? schema.oneOf;
  if (Array.isArray(choices))
    return [...new Set(choices.map((one) => typeOf(one as Json, used, indent)))].join(" | ");
  if (Array.isArray(schema.allOf))
    return schema.allOf.map((one) => `(${typeOf(one as Json, used, indent)})`).join(" & ");
  if (Array.isArray(schema.type))
    return schema.type.map((type) => typeOf({ ...schema, type }, used, indent)).join(" | ");
  switch (schema.type) {
    case "string":
      return "string";
    case "integer":
    case "number":
      return "number";
    case "boolean":
      return "boolean";
    case "null":
      return "null";
    case "array":
      return `(${typeOf((schema.items as Json | undefined) ?? {}, used, indent)})[]`;
    case "object":
      return objectType(schema, used, indent);
    default:
      return "unknown";
  }
}

function objectType(schema: Json, used: Set<string>, indent: string): string {
  const properties = Object.entries((schema.properties as Readonly<Record<string, Json>>) ?? {});
  const more = schema.additionalProperties;
  if (properties.length === 0)
    return typeof more === "object" && more !== null
      ? `Record<string, ${typeOf(more as Json, used, indent)}>`
      : "Record<string, never>";
  const required = (schema.required as readonly string[] | undefined) ?? [];
  const inner = `${indent}  `;
  const rows = properties.map(([name, one]) => {
    const isRequired = required.includes(name);
    return `${comment(one, inner)}${inner}${/^\w+$/.test(name) ? name : JSON.stringify(name)}${isRequired ? "" : "?"}: ${typeOf(one, used, inner)}${isRequired ? "" : " | undefined"};`;
  });
  return `{\n${rows.join("\n")}\n${indent}}`;
}

function comment(schema: Json, indent: string): string {
  return typeof schema.description === "string"
    ? `${indent}/** ${schema.description.replaceAll("*/", "*\\/")} */\n`
    : "";
}
