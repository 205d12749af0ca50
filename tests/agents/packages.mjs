// The packages are installed under target/, apart from the sources; `make test` has fewer of them.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const folder = process.env.LLM_CACHE_PACKAGES ?? "node-agents";
const { resolve } = createRequire(new URL(`../../target/${folder}/`, import.meta.url));

export const packages = (name) => import(pathToFileURL(resolve(name)));
