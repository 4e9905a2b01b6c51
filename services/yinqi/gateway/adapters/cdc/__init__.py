"""The `cdc` dialect: JSON, SM2, SM4 over one HTTP POST. Source: docs/bank-dialect-cdc.md."""
