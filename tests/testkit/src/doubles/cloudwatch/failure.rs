//! The errors CloudWatch answers with.

/// An error of CloudWatch, named by its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// IAM does not allow the call.
    AccessDenied,
    /// The session token is too old.
    ExpiredToken,
    /// CloudWatch broke.
    InternalServiceError,
    /// Two parameters that exclude each other, or too many data points asked for.
    InvalidParameterCombination,
    /// A parameter outside its limits.
    InvalidParameterValue,
    /// The request is not signed.
    MissingAuthenticationToken,
    /// A required parameter is absent, empty or blank.
    MissingParameter,
    /// The body is too long.
    RequestEntityTooLarge,
    /// The body cannot be read.
    SerializationException,
    /// CloudWatch is overloaded.
    ServiceUnavailable,
    /// The request is signed for another service, or not by Signature Version 4.
    SignatureDoesNotMatch,
    /// Too many calls.
    Throttling,
    /// No such operation here.
    UnknownOperationException,
    /// What GetMetricData calls an invalid parameter.
    ValidationError,
}

impl Failure {
    /// HTTP status, code, and name of the error shape.
    ///
    /// The four that PutMetricData declares are from botocore's model
    /// (`data/cloudwatch/2010-08-01/service-2.json`), the rest from
    /// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CommonErrors.html>.
    pub(super) fn on_the_wire(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::AccessDenied => (403, "AccessDenied", "AccessDeniedException"),
            Self::ExpiredToken => (403, "ExpiredToken", "ExpiredTokenException"),
            Self::InternalServiceError => (500, "InternalServiceError", "InternalServiceFault"),
            Self::InvalidParameterCombination => (
                400,
                "InvalidParameterCombination",
                "InvalidParameterCombinationException",
            ),
            Self::InvalidParameterValue => (
                400,
                "InvalidParameterValue",
                "InvalidParameterValueException",
            ),
            Self::MissingAuthenticationToken => (
                403,
                "MissingAuthenticationToken",
                "MissingAuthenticationTokenException",
            ),
            Self::MissingParameter => {
                (400, "MissingParameter", "MissingRequiredParameterException")
            }
            // Seen with its status: https://github.com/micrometer-metrics/micrometer/issues/2302
            Self::RequestEntityTooLarge => (
                413,
                "RequestEntityTooLarge",
                "RequestEntityTooLargeException",
            ),
            Self::SerializationException => {
                (400, "SerializationException", "SerializationException")
            }
            Self::ServiceUnavailable => (503, "ServiceUnavailable", "ServiceUnavailableException"),
            Self::SignatureDoesNotMatch => {
                (403, "SignatureDoesNotMatch", "InvalidSignatureException")
            }
            Self::Throttling => (400, "Throttling", "ThrottlingException"),
            Self::UnknownOperationException => (
                404,
                "UnknownOperationException",
                "UnknownOperationException",
            ),
            Self::ValidationError => (400, "ValidationError", "ValidationException"),
        }
    }

    /// What an injected failure says.
    fn message(self) -> &'static str {
        match self {
            Self::AccessDenied => {
                "User: arn:aws:sts::123456789012:assumed-role/test/test is not authorized to \
                 perform: cloudwatch:PutMetricData because no identity-based policy allows the \
                 cloudwatch:PutMetricData action"
            }
            Self::ExpiredToken => "The security token included in the request is expired",
            Self::MissingAuthenticationToken => "Request is missing Authentication Token",
            Self::Throttling => "Rate exceeded",
            Self::InternalServiceError
            | Self::InvalidParameterCombination
            | Self::InvalidParameterValue
            | Self::MissingParameter
            | Self::RequestEntityTooLarge
            | Self::SerializationException
            | Self::ServiceUnavailable
            | Self::SignatureDoesNotMatch
            | Self::UnknownOperationException
            | Self::ValidationError => "injected by the test",
        }
    }

    pub(super) fn because(self, message: impl Into<String>) -> Refusal {
        Refusal {
            failure: self,
            message: message.into(),
        }
    }
}

/// A call that is answered with an error.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) failure: Failure,
    pub(super) message: String,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        failure.because(failure.message())
    }
}
