"""One small, valid document of each collection, as an export of the Zygotrix application writes it."""

from __future__ import annotations

from typing import Any

OID = "65a1b2c3d4e5f60718293a4b"
AT = "2024-03-01T08:00:00Z"

VALID: dict[str, dict[str, Any]] = {
    "users": {
        "_id": {"$oid": OID},
        "email": "ada@example.org",
        "password_hash": "$2b$12$abcdefghijklmnopqrstuv",
        "full_name": "Ada Example",
        "role": "user",
        "created_at": {"$date": AT},
        "updated_at": {"$date": AT},
        "email_verified": True,
        "preferences": {"style": "conversational", "length": "detailed", "auto_learn": True},
    },
    "traits": {
        "name": "Eye Color",
        "type": "simple_dominant",
        "inheritance_pattern": "mendelian",
        "alleles": [
            {"symbol": "B", "name": "Brown", "dominant": True},
            {"symbol": "b", "name": "Blue", "dominant": False},
        ],
        "phenotypes": [
            {"genotypes": ["BB", "Bb"], "name": "Brown eyes"},
            {"genotypes": ["bb"], "name": "Blue eyes"},
        ],
        "description": "Eye color determined by one gene, in the simplest model",
        "tags": ["human", "eye"],
        "created_at": AT,
    },
    "conversations": {
        "_id": "c1",
        "user_id": OID,
        "title": "Punnett Square Question",
        "created_at": AT,
        "updated_at": AT,
        "messages": [
            {"id": "m1", "role": "user", "content": "What is a Punnett square?", "timestamp": AT},
            {
                "id": "m2",
                "role": "assistant",
                "content": "A table.",
                "timestamp": AT,
                "tools_used": ["search_traits"],
            },
        ],
        "context": {"last_trait": "eye_color", "preferences": {}},
    },
    "gwas_datasets": {
        "_id": "d1",
        "user_id": OID,
        "name": "test.vcf",
        "file_type": "vcf",
        "status": "processed",
        "storage_path": f"gwas-datasets/{OID}/d1/raw/test.vcf",
        "snp_count": 10000,
        "sample_count": 500,
        "created_at": AT,
        "processed_at": AT,
        "metadata": {"chromosomes": [1, 2, "X"], "build": "GRCh38"},
    },
    "gwas_jobs": {
        "_id": "j1",
        "user_id": OID,
        "dataset_id": "d1",
        "status": "completed",
        "analysis_type": "linear",
        "parameters": {"maf_threshold": 0.01, "num_threads": 4},
        "created_at": AT,
        "started_at": AT,
        "completed_at": AT,
        "error": None,
        "result_id": "r1",
        "snps_tested": 9000,
        "cpu_seconds": 1.5,
    },
    "gwas_results": {
        "_id": "r1",
        "job_id": "j1",
        "user_id": OID,
        "dataset_id": "d1",
        "summary": {
            "total_snps_tested": 9000,
            "significant_snps_bonferroni": 1,
            "significant_snps_fdr": 2,
            "genomic_inflation_lambda": 1.01,
        },
        "manhattan_plot_data": {
            "chromosomes": [{"chr": 1, "positions": [5, 9], "p_values": [0.5, 1e-9], "labels": [None, "rs1"]}]
        },
        "qq_plot_data": {"expected": [0.1], "observed": [0.2], "genomic_inflation_lambda": 1.01},
        "top_hits": [
            {
                "rsid": "rs1",
                "chromosome": 1,
                "position": 9,
                "ref_allele": "A",
                "alt_allele": "G",
                "p_value": 1e-9,
            }
        ],
        "created_at": AT,
        "associations_path": f"gwas-results/{OID}/j1/associations.parquet",
    },
    "university_courses": {
        "slug": "mendel-101",
        "title": "Mendel's laws",
        "description": "Segregation and independent assortment",
        "level": "beginner",
        "tags": ["genetics"],
        "modules": [{"id": "1", "title": "Peas", "lessons": [{"title": "Seven traits"}]}],
        "created_at": AT,
    },
    "university_enrollments": {
        "user_id": OID,
        "course_slug": "mendel-101",
        "status": "active",
        "progress": 40,
        "enrolled_at": AT,
    },
}
