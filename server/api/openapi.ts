/**
 * /api/v1/openapi.json: an OpenAPI 3.1 document of /api/v1, made from the schemas that validate. The
 * other interfaces are described where they come from.
 */
import { STATUS_CODES } from 'node:http'

import type { Router } from 'express'
import { z } from 'zod'

import { newRouter } from '../http/router.ts'
import { berthVersion } from '../version.ts'
import type { Operation } from './operation.ts'

type Json = Readonly<Record<string, unknown>>

const problem = z.object({
  error: z.object({ code: z.int(), message: z.string().describe('For people') }),
  code: z.int(),
  status: z.string(),
  message: z.string(),
})

const documentOperation: Operation = {
  method: 'get',
  path: '/api/v1/openapi.json',
  summary: 'This document',
  credentials: [],
  reply: { status: 200, data: z.looseObject({}) },
  problems: [],
}

/** `url` is the site's address; the operations are those of all routes below /api/v1. */
export function openApiRoutes(url: string, operations: readonly Operation[]): Router {
  const document = describeApi(url, operations)
  const router = newRouter()
  router.get('/api/v1/openapi.json', (_req, res) => {
    res.json(document)
  })
  return router
}

function describeApi(url: string, operations: readonly Operation[]): Json {
  const paths: Record<string, Record<string, Json>> = {}
  for (const operation of [...operations, documentOperation]) {
    const path = (paths[operation.path] ??= {})
    path[operation.method] = describe(operation)
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Berth',
      version: berthVersion,
      description: "Berth's own API; what the clients of containers speak is not in here.",
    },
    servers: [{ url }],
    paths,
    components: {
      schemas: { Problem: jsonSchema(problem, 'output') },
      securitySchemes: {
        password: { type: 'http', scheme: 'basic' },
        token: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
      },
    },
  }
}

function describe(operation: Operation): Json {
  const { summary, credentials, body, reply, problems } = operation
  const isDocument = operation === documentOperation
  const data = jsonSchema(reply.data, 'output')
  return {
    summary,
    security: credentials.map((credential) => ({ [credential]: [] })),
    parameters: [...pathParameters(operation), ...queryParameters(operation)],
    ...(body && { requestBody: { required: true, content: json(jsonSchema(body, 'input')) } }),
    responses: {
      [reply.status]: {
        description: STATUS_CODES[reply.status] ?? '',
        content: json(isDocument ? data : enveloped(data)),
      },
      ...Object.fromEntries(
        problems.map((status) => [
          status,
          {
            description: STATUS_CODES[status] ?? '',
            content: json({ $ref: '#/components/schemas/Problem' }),
          },
        ]),
      ),
    },
  }
}

function pathParameters({ path, parameters = {} }: Operation): Json[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
    ...(Object.hasOwn(parameters, name) && { description: parameters[name] }),
  }))
}

function queryParameters({ query }: Operation): Json[] {
  return Object.entries<z.core.$ZodType>(query?.shape ?? {}).map(([name, schema]) => ({
    name,
    in: 'query',
    required: !z.safeParse(schema, undefined).success,
    schema: jsonSchema(schema, 'input'),
  }))
}

function enveloped(data: Json): Json {
  return { type: 'object', properties: { data }, required: ['data'] }
}

function json(schema: Json): Json {
  return { 'application/json': { schema } }
}

/** `input` is what may be sent, with defaults left out; `output` what comes back. */
function jsonSchema(schema: z.core.$ZodType, io: 'input' | 'output'): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { target: 'draft-2020-12', io })
  return rest
}
