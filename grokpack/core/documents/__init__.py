"""JSON documents that commands print and files hold, as types: `XJson` is an X in JSON.

JSON Schemas are made of these types when one is asked for, and a type checker compares them with
what makes and what shows the documents. Beside schemas and the check of committed manifests, only
type hints import them, so that no command pays for pydantic.
"""
