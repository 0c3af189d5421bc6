import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'

/**
 * The directory of package.json. The same modules run from dist/ (production, tests) and, on a
 * Node that strips types, from the sources; .sql files and assets are read from the sources in both.
 */
export const packageRoot: string = findRoot(import.meta.dirname)

function findRoot(directory: string): string {
  if (existsSync(join(directory, 'package.json'))) return directory
  const parent = dirname(directory)
  if (parent === directory) throw new Error('package.json not found above ' + import.meta.dirname)
  return findRoot(parent)
}
